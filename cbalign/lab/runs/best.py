"""Find the checkpoint of a run that is best by a metric."""

from __future__ import annotations

from pathlib import Path

from cbalign.engine.checkpoint_folder import checkpoint_steps
from cbalign.engine.metrics_file import read_records
from cbalign.engine.run import RunFolder, checkpoint_of_step
from cbalign.errors import CheckpointError
from cbalign.parts.metrics import Criterion


def best_checkpoint(run: RunFolder, metric: str) -> Path:
    """Find the checkpoint with the best evaluation during training.

    Args:
        run: the run.
        metric: by its name, the end of its name, or a pattern with `*`, whose metrics are averaged.

    Raises:
        UsageError: no evaluation has such a metric.
        CheckpointError: the best checkpoint was not kept, or the metrics cannot be read.
    """
    evaluations = {record.step: record.values for record in read_records(run.metrics) if record.kind == "evaluation"}
    criterion = Criterion.of(metric, dict.fromkeys(name for values in evaluations.values() for name in values))
    best = criterion.best(evaluations)
    if best is None:
        raise CheckpointError(f"No evaluation of {run.folder} has a finite value of {metric!r}.")
    step, value = best
    if step in checkpoint_steps(run.checkpoints):
        return checkpoint_of_step(run, step)
    kept = [
        f"step-{each} ({criterion.value(evaluations[each]):.4g})" if each in evaluations else f"step-{each}"
        for each in checkpoint_steps(run.checkpoints)
    ]
    raise CheckpointError(
        f"The best checkpoint by {metric!r} was step-{step} ({value:.4g}), which is not kept any more.",
        remedy=f"There are {', '.join(kept)}. In the next training, set train.keep_best." if kept else None,
    )
