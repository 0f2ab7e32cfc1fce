"""What the comparison of a bundle with PyTorch says: every check with its limit, precision by precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from cbalign.encoders import FloatArray
from cbalign.errors import ParityError
from cbalign.evaluation.result import Result
from cbalign.parts.kinds import ParityLimits
from cbalign.runtime.document import json_document
from cbalign.runtime.precisions import REFERENCE

Rung = Literal["checker", "torch", "independence", "inputs", "codes", "task"]
RUNGS: tuple[Rung, ...] = get_args(Rung)
"""From the lowest up."""

Measure: TypeAlias = Callable[[FloatArray, FloatArray], float]
Feed: TypeAlias = tuple[NDArray[np.generic], ...]
"""The inputs of a graph, in order."""

WHOLE = "whole"
"""In the place of a graph's name: the bundle as a whole."""


def difference(found: FloatArray, expected: FloatArray) -> float:
    """Largest absolute difference, relative to the largest expected value where that is above 1; infinite if unlike."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    if not expected.size:
        return 0.0
    return float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))


def distance(found: FloatArray, expected: FloatArray) -> float:
    """‖found − expected‖ / ‖expected‖ of the worst item, the first dimension being the batch; infinite if unlike.

    For unit vectors it is √(2 − 2 cos): 0.045 at a cosine of 0.999, 0.14 at 0.99.
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
    """The `ParityLimits` of a precision with the measure as a function; `difference` always applies to scores.

    The codebook graph is float32 in every precision and has the limit `CODEBOOK`.
    """

    measure: Measure
    tokens: float
    embedding: float
    scores: float
    codes: float  # share of vectors with another code, computed from pixels and texts
    recall: float  # points

    @classmethod
    def of(cls, declared: ParityLimits) -> Limits:
        """The limits that a precision declares."""
        measure = {"difference": difference, "distance": distance}[declared.measure]
        return cls(measure, declared.tokens, declared.embedding, declared.scores, declared.codes, declared.recall)


CODEBOOK = 1e-4
"""Greatest `difference` of probabilities and prototypes."""

SAME_VECTORS = 0.005
"""Share of vectors that the codebook graph may give another code than PyTorch does, in any precision."""


@dataclass(frozen=True)
class Check:
    """One comparison. `error` is to be at most `limit`; what it measures stands in `quantity`, `note` says more."""

    rung: Rung
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
    """All comparisons of one precision, from the lowest rung up, where they were made, and what it retrieves.

    `divergence` names the first tensor that differs, where a comparison failed and one was found.
    """

    precision: str
    checks: tuple[Check, ...]
    results: tuple[Result, ...] = ()
    device: str = "cpu"
    divergence: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every comparison holds."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The comparisons that do not hold, lowest rung first."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def tightest(self) -> Check:
        """The comparison of tensors with PyTorch's that comes nearest to its limit."""
        return max((c for c in self.checks if c.rung == "torch"), key=lambda check: check.error / check.limit)

    def require(self) -> None:
        """Refuse a precision that failed.

        Raises:
            ParityError: names the lowest rung that failed, its graph and quantity, and the first tensor that differs.
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
    """The comparison of a bundle with PyTorch: what that retrieves on `source`, and a report per precision."""

    source: str
    torch_results: tuple[Result, ...]
    precisions: tuple[PrecisionReport, ...]

    @property
    def passed(self) -> bool:
        """Whether every comparison of every precision holds."""
        return all(report.passed for report in self.precisions)

    @property
    def count(self) -> int:
        """How many comparisons there are."""
        return sum(len(report.checks) for report in self.precisions)

    def to_json(self) -> str:
        """One JSON document."""
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
                    "checks": [
                        {**asdict(c), "error": _json_number(c.error), "passed": c.passed} for c in report.checks
                    ],
                }
                for report in self.precisions
            },
        }
        return json_document(values)

    def require(self) -> None:
        """Refuse a bundle of which a precision failed.

        Raises:
            ParityError: as `PrecisionReport.require` says it, of the first that failed.
        """
        for report in self.precisions:
            report.require()


def _metrics(results: tuple[Result, ...]) -> dict[str, float]:
    return {name: value for result in results for name, value in result.flat().items()}


def _json_number(value: float) -> float | str:
    return value if np.isfinite(value) else str(value)
