"""What a model says of every item, as the data sets' own tools read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cbalign.engine.files import write_durably
from cbalign.errors import UsageError
from cbalign.evaluation.result import Result
from cbalign.evaluation.scored import ScoredResult
from cbalign.spec.task import TaskSection


def write_predictions(path: Path, task: TaskSection, results: Sequence[Result]) -> None:
    """Write the predictions of one result.

    Statements and premises as CSV lines `identifier,label` (NLVR2's metrics.py reads them so).

    Raises:
        UsageError: there are none, or those of several splits.
        StorageError: the file cannot be written.
    """
    scored = [result for result in results if isinstance(result, ScoredResult)]
    if len(scored) != 1:
        raise UsageError(
            f"--predictions: there are predictions of {len(scored)} splits, a file holds those of one",
            remedy="Name the split with --on." if scored else f"The task {task.kind} ranks, it predicts nothing.",
        )
    (result,) = scored
    lines = [f"{name},{said}\n" for name, said in zip(result.ids, result.predictions)]
    write_durably(path, "".join(lines).encode())
