"""The `evaluate` section: evaluations and their splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbalign.experiment.unions import union
from cbalign.parts import EvaluationSection
from cbalign.parts.registry import EVALUATIONS

if TYPE_CHECKING:
    Evaluation = EvaluationSection
else:
    Evaluation = union(EVALUATIONS)
