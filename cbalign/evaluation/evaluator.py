"""The interface of evaluations: `section.build()` returns an evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from cbalign.data.progress import ProgressCallback, no_progress
from cbalign.errors import UsageError
from cbalign.evaluation.base import Result
from cbalign.evaluation.process_group import SINGLE_PROCESS, ProcessGroup
from cbalign.parts import EvaluationSection
from cbalign.parts.results import require_built, require_type

ModelT_contra = TypeVar("ModelT_contra", contravariant=True)
SourceT_contra = TypeVar("SourceT_contra", contravariant=True)


class Evaluator(Protocol[ModelT_contra, SourceT_contra]):
    """Measures models of a task on sources of its items."""

    def evaluate(
        self,
        model: ModelT_contra,
        source: SourceT_contra,
        *,
        corrupt_limit: float = 0.0,
        report: ProgressCallback = no_progress,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> tuple[Result, ...]:
        """Measure a model on one source, with one result per protocol.

        Args:
            model: a model of a run or of a bundle.
            source: the items.
            corrupt_limit: share of the items that may have unreadable images; they are left out.
            report: progress callback.
            process_group: the processes that share the work; all get the same results.

        Raises:
            UsageError: the model cannot be measured in this way.
            DataError: too many images are unreadable.
            DivergenceError: the model returns values that are not finite.
        """

    def predictions_file(self, result: Any) -> str | None:
        """Write the predictions of a result in the format of the data set's tools; None if there are none."""


def evaluator_of(section: EvaluationSection) -> Evaluator[Any, Any]:
    """Build the evaluator of a section."""
    evaluator: Evaluator[Any, Any] = section.build()
    require_built(section, evaluator, ("evaluate", "predictions_file"))
    return evaluator


def measured_by(evaluator: Evaluator[Any, Any], results: tuple[Result, ...]) -> tuple[Result, ...]:
    """Return the results of an evaluator.

    Raises:
        PartError: they are not a tuple of results.
    """
    require_type(evaluator, "evaluate", results, tuple)
    for result in results:
        require_type(evaluator, "evaluate", result, Result)
    return results


def predictions_file(measured: Sequence[tuple[EvaluationSection, Result]]) -> str:
    """Write the predictions of the only result that has any.

    Raises:
        UsageError: no result has predictions, or several have.
    """
    files = [text for section, result in measured if (text := evaluator_of(section).predictions_file(result))]
    if len(files) != 1:
        raise UsageError(
            f"{len(files)} evaluations have predictions, but a file of predictions holds those of one",
            remedy="Choose a split with `on=…` and one protocol with `protocols=…`."
            if files
            else "The evaluations of this task rank items and predict nothing.",
        )
    return files[0]
