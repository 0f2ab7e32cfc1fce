"""A trained run as something that can be evaluated and exported."""

from __future__ import annotations

from pathlib import Path

from cbalign.data.text import Tokenizer
from cbalign.engine.checkpoint import load_model
from cbalign.engine.precision import choose_device
from cbalign.engine.run import open_run
from cbalign.models.build import build_model
from cbalign.models.encoder import TorchEncoder
from cbalign.spec.load import load_experiment


def load_encoder(folder: Path, *, checkpoint: Path | None = None, device: str = "cpu") -> TorchEncoder:
    """The model of a run, in evaluation mode, with its tokenizer.

    Args:
        folder: the run directory.
        checkpoint: one of its checkpoints; None takes the newest.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        CheckpointError: the run has no checkpoint, or its weights are damaged.
        DeviceError: the device is not there.
    """
    run = open_run(folder)
    experiment = load_experiment(run.resolved, check_files=False).experiment
    place = choose_device(device)
    tokenizer = Tokenizer.load(run.assets)
    model = build_model(experiment, tokenizer.vocabulary_size, pretrained=False)
    load_model(model, checkpoint or run.latest_checkpoint())
    return TorchEncoder(model.to(place).eval(), tokenizer, place)
