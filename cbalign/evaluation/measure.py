"""One section of a spec's `evaluate`, whatever its kind, for any model that can be measured so."""

from __future__ import annotations

from typing import TypeAlias, assert_never

from cbalign.answering import Answerer
from cbalign.data.items import STATEMENT_LABELS, Labelled
from cbalign.data.progress import ProgressCallback
from cbalign.data.source import Source, open_source
from cbalign.encoders import Classifier, Encoder
from cbalign.errors import UsageError
from cbalign.evaluation.answering import evaluate_answers
from cbalign.evaluation.classification import evaluate_accuracy
from cbalign.evaluation.result import Result
from cbalign.evaluation.retrieval import evaluate_retrieval
from cbalign.evaluation.sections.evaluations import AccuracyEvaluation, RetrievalEvaluation, VQAEvaluation
from cbalign.parts import EvaluationSection, SourceSection

Model: TypeAlias = Encoder | Classifier | Answerer
"""What can be measured: a model of a run, or of a bundle."""


def measure(
    model: Model, data: SourceSection, section: EvaluationSection, *, corrupt_limit: float, report: ProgressCallback
) -> tuple[Result, ...]:
    """Measure a model on a source, as a section says.

    Raises:
        UsageError: the model is of another task, or the source has other items.
        DataError: the source cannot be read, or too many of its images.
        DivergenceError: the model gives something that is not a number.
    """
    match section:
        case RetrievalEvaluation():
            if not isinstance(model, Encoder):
                raise _other_task(section)
            return evaluate_retrieval(
                model, open_source(data, "pairs"), section, corrupt_limit=corrupt_limit, report=report
            )
        case AccuracyEvaluation():
            if not isinstance(model, Classifier):
                raise _other_task(section)
            statements = model.labels == STATEMENT_LABELS
            source: Source[Labelled] = open_source(data, "statements") if statements else open_source(data, "premises")
            return (evaluate_accuracy(model, source, section, corrupt_limit=corrupt_limit, report=report),)
        case VQAEvaluation():
            if not isinstance(model, Answerer):
                raise _other_task(section)
            return evaluate_answers(
                model, open_source(data, "questions"), section, corrupt_limit=corrupt_limit, report=report
            )
        case _:
            assert_never(section)


def _other_task(section: EvaluationSection) -> UsageError:
    return UsageError(f"an evaluation of kind {section.kind} is of another task than this model's")
