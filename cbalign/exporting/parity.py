"""Report of the comparison of a bundle with PyTorch: every check with its limit, by precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import FloatArray
from cbalign.errors import ParityError
from cbalign.evaluation.result import Result
from cbalign.parts.exports import ParityLimits
from cbalign.runtime.document import json_document
from cbalign.runtime.precisions import REFERENCE

CheckKind = Literal["checker", "torch", "independence", "inputs", "codes", "task"]
CHECK_KINDS: tuple[CheckKind, ...] = get_args(CheckKind)
"""All kinds, in the order in which checks are reported."""

Measure: TypeAlias = Callable[[FloatArray, FloatArray], float]
Feed: TypeAlias = tuple[NDArray[np.generic], ...]
"""The inputs of a graph, in order."""

WHOLE = "whole"
"""Graph name of checks that concern the whole bundle."""


def difference(found: FloatArray, expected: FloatArray) -> float:
    """Return max |found − expected| / max(1, max |expected|); infinite if shapes differ or a value is not finite."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    if not expected.size:
        return 0.0
    return float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))


def distance(found: FloatArray, expected: FloatArray) -> float:
    """Return ‖found − expected‖ / ‖expected‖ of the worst item; infinite if shapes differ or a value is not finite.

    The first dimension is the batch. For unit vectors, the distance is √(2 − 2 cos): 0.045 at a cosine of 0.999, 0.14
    at 0.99.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    if not expected.size:
        return 0.0
    rows = len(np.atleast_1d(expected))
    off, size = ((values.reshape(rows, -1) ** 2).sum(axis=1) for values in (found - expected, expected))
    return float(np.sqrt(off / np.maximum(size, 1e-12)).max())


@dataclass(frozen=True)
class Limits:
    """The `ParityLimits` of a precision, with the measure as a function. Scores are always measured by `difference`.

    The codebook graph is float32 in every precision; its limit is `CODEBOOK`.
    """

    measure: Measure
    tokens: float
    embedding: float
    scores: float
    codes: float  # share of vectors, computed from pixels and texts, that get a different code
    recall: float  # points

    @classmethod
    def of(cls, declared: ParityLimits) -> Limits:
        """Build the limits that a precision declares."""
        measure = {"difference": difference, "distance": distance}[declared.measure]
        return cls(measure, declared.tokens, declared.embedding, declared.scores, declared.codes, declared.recall)


CODEBOOK = 1e-4
"""Largest `difference` allowed for probabilities and prototypes."""

SAME_VECTORS = 0.005
"""Share of vectors to which the codebook graph may assign a different code than PyTorch, in any precision."""


@dataclass(frozen=True)
class ParityCheck:
    """One comparison, which passes if `error` is at most `limit`.

    `quantity` describes the measured value; `note` gives details of a failure.
    """

    kind: CheckKind
    graph: str
    quantity: str
    error: float
    limit: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is a number within the limit."""
        return bool(self.error <= self.limit)


@dataclass(frozen=True)
class PrecisionReport:
    """All checks of one precision in the order of `CHECK_KINDS`, with the device that ran them and the task results.

    `divergence` names the first tensor that differs, if a check failed and such a tensor was found.
    """

    precision: str
    checks: tuple[ParityCheck, ...]
    results: tuple[Result, ...] = ()
    device: str = "cpu"
    divergence: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[ParityCheck, ...]:
        """The failed checks, in order."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def tightest(self) -> ParityCheck:
        """The check of kind "torch" that is closest to its limit."""
        return max((c for c in self.checks if c.kind == "torch"), key=lambda check: check.error / check.limit)

    def require(self) -> None:
        """Require that every check passed.

        Raises:
            ParityError: a check failed; the message names its graph, its quantity and the first tensor that differs.
        """
        if self.passed:
            return
        first = self.failed[0]
        off = f"is off by {first.error:.3g}, at most {first.limit:.3g} is allowed" if not first.note else first.note
        where = f". The first tensor that differs is {self.divergence}" if self.divergence else ""
        raise ParityError(
            f"{self.precision}: the {first.graph} graph does not compute what PyTorch computes: {first.quantity} "
            f"{off} ({len(self.failed)} of {len(self.checks)} comparisons failed){where}",
            remedy=_REMEDY if self.precision == REFERENCE else _REMEDY_REDUCED,
        )


_REMEDY = "Try another export.opset, or report it: parity.json has every comparison."
_REMEDY_REDUCED = (
    "Leave this precision out of export.precisions: it changes this model too much. parity.json lists every comparison."
)


@dataclass(frozen=True)
class ParityReport:
    """Comparison of a bundle with PyTorch: PyTorch's results on `source`, and a report for each precision."""

    source: str
    torch_results: tuple[Result, ...]
    precisions: tuple[PrecisionReport, ...]

    @property
    def passed(self) -> bool:
        """Whether every check of every precision passed."""
        return all(report.passed for report in self.precisions)

    @property
    def count(self) -> int:
        """Number of checks."""
        return sum(len(report.checks) for report in self.precisions)

    def to_json(self) -> str:
        """Return the report as a JSON document. A check stores its kind under `rung`, the key of earlier versions."""
        values = {
            "schema_version": 2,
            "passed": self.passed,
            "source": self.source,
            "torch": _metrics(self.torch_results),
            "precisions": {
                report.precision: {
                    "passed": report.passed,
                    "device": report.device,
                    "first_divergence": report.divergence,
                    "metrics": _metrics(report.results),
                    "checks": [_check_json(check) for check in report.checks],
                }
                for report in self.precisions
            },
        }
        return json_document(values)

    def require(self) -> None:
        """Require that every precision passed.

        Raises:
            ParityError: see `PrecisionReport.require`; raised for the first precision that failed.
        """
        for report in self.precisions:
            report.require()


def _metrics(results: tuple[Result, ...]) -> dict[str, float]:
    return {name: value for result in results for name, value in result.flat().items()}


def _check_json(check: ParityCheck) -> dict[str, Any]:
    values = asdict(check)
    return {"rung": values.pop("kind"), **values, "error": _json_number(check.error), "passed": check.passed}


def _json_number(value: float) -> float | str:
    return value if np.isfinite(value) else str(value)
