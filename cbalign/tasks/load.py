"""Load the trained model of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cbalign.engine.device import choose_device
from cbalign.engine.run import open_run
from cbalign.experiment.load import load_experiment
from cbalign.tasks.kit import kit_of


def load_model(folder: str | Path, *, checkpoint: str | Path | None = None, device: str = "cpu") -> Any:
    """Load the model of a run in evaluation mode, with its tokenizer, as the task's evaluator measures it.

    What it can do depends on the task: see `TaskKit.load`.

    Args:
        folder: the run directory.
        checkpoint: one of its checkpoints; None for the newest.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        CheckpointError: the run has no checkpoint, or its weights are damaged.
        DeviceError: the device does not exist.
        UsageError: models of the run's task cannot be evaluated.
    """
    run = open_run(folder)
    experiment = load_experiment(run.resolved, check_files=False).experiment
    place = choose_device(device)
    chosen = run.latest_checkpoint() if checkpoint is None else Path(checkpoint)
    return kit_of(experiment).load(run, experiment, chosen, place)
