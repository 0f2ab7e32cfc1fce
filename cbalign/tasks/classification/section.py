"""The evaluation of classifiers in a spec."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, EvaluationSection, setting
from cbalign.parts.kinds import Split


class AccuracyEvaluation(EvaluationSection):
    """Classification accuracy (NLVR2, SNLI-VE) with the confusion matrix, and consistency if texts repeat."""

    builds = "cbalign.tasks.classification.metric:AccuracyEvaluator"

    kind: Literal["accuracy"] = setting(effect=Effect.EVALUATION, help="Kind of evaluation.")
    on: Split = setting("validation", effect=Effect.EVALUATION, help="Split.")
    bootstrap: int = setting(
        1000, ge=0, le=1_000_000, effect=Effect.EVALUATION, help="Resamples for the 95 % intervals; 0: none."
    )
    batch_size: int = setting(64, ge=1, le=1_000_000, effect=Effect.RUNTIME, help="Items per forward pass.")

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Return accuracy, and consistency, which is measured if texts repeat."""
        return ("accuracy", "consistency")
