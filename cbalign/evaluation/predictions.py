"""What a model says of every item, as the data sets' own tools read it."""

from __future__ import annotations

from collections.abc import Sequence

from cbalign.errors import UsageError
from cbalign.evaluation.answering import results_json
from cbalign.evaluation.result import Result
from cbalign.evaluation.scored import ScoredResult
from cbalign.parts import TaskSection
from cbalign.tasks.vqa.section import VQATask


def predictions_file(task: TaskSection, results: Sequence[Result]) -> str:
    """The predictions of one result, as a file.

    Answers as EvalAI's JSON; statements and premises as CSV lines `identifier,label`, as NLVR2's metrics.py reads them.

    Raises:
        UsageError: there are none, or those of several splits or protocols.
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
        return results_json(result)
    return "".join(f"{name},{said}\n" for name, said in zip(result.ids, result.predictions))
