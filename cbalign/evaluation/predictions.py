"""What a model says of every item, as the data sets' own tools read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cbalign.engine.files import write_durably
from cbalign.errors import UsageError
from cbalign.evaluation.answering import results_json
from cbalign.evaluation.result import Result
from cbalign.evaluation.scored import ScoredResult
from cbalign.spec.task import TaskSection, VQATask


def write_predictions(path: Path, task: TaskSection, results: Sequence[Result]) -> None:
    """Write the predictions of one result.

    Answers as EvalAI's JSON; statements and premises as CSV lines `identifier,label`, as NLVR2's metrics.py reads them.

    Raises:
        UsageError: there are none, or those of several splits or protocols.
        StorageError: the file cannot be written.
    """
    scored = [result for result in results if isinstance(result, ScoredResult)]
    if len(scored) != 1:
        raise UsageError(
            f"--predictions: there are predictions of {len(scored)} evaluations, a file holds those of one",
            remedy="Name the split with --on, and one protocol with --protocol."
            if scored
            else f"The task {task.kind} ranks, it predicts nothing.",
        )
    (result,) = scored
    if isinstance(task, VQATask):
        write_durably(path, results_json(result).encode())
        return
    lines = [f"{name},{said}\n" for name, said in zip(result.ids, result.predictions)]
    write_durably(path, "".join(lines).encode())
