"""Does the bundle compute what the trained model computes? Asked rung by rung, with real inputs, whatever the task.

From the lowest rung up:

- torch: every output of every graph, for batches and lengths of several sizes.
- independence: an item alone gives what it gives beside others, and beside longer ones.
- inputs: the shipped tokenizer and preprocessing make the same ids and pixels of raw texts and pictures.
- codes: vectors, pictures and words get the same codes, where there is a codebook.
- task: what the model is for comes out the same, and as well.

The checker of ONNX, the rung below them, looks at files instead (`cbalign.exporting.proof`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cbalign.encoders import FloatArray
from cbalign.errors import BundleError, DivergenceError
from cbalign.evaluation.result import Result
from cbalign.exporting.parity import RUNGS, Check, Feed, Limits, Measure, PrecisionReport, Rung
from cbalign.runtime.precisions import precision_section

Part: TypeAlias = tuple[str, Callable[[], None]]
"""What the report calls a part of a comparison, and what makes its checks."""


class Ladder(ABC):
    """One precision of a bundle beside the trained model.

    Args:
        precision: sets the limits.
        report: told which part is being compared.
    """

    def __init__(self, precision: str, report: Callable[[str], None]) -> None:
        self.precision = precision
        self.limits: Limits = Limits.of(precision_section(precision).limits)
        self.failing: dict[str, Feed] = {}
        """Inputs of the first comparison with PyTorch that failed, by graph."""
        self._report = report
        self._checks: list[Check] = []
        self._results: tuple[Result, ...] = ()  # what the bundle measures on the task

    def climb(self) -> PrecisionReport:
        """Make every comparison; one that onnxruntime cannot even compute has failed."""
        for name, compare in self._parts():
            self._report(name)
            compare()
        checks = sorted(self._checks, key=lambda check: RUNGS.index(check.rung))
        return PrecisionReport(self.precision, tuple(checks), self._results)

    @abstractmethod
    def _parts(self) -> Iterable[Part]:
        """What is compared, in this order: the graphs, the inputs, and last the task, which sets `_results`."""

    def _compare(
        self,
        graph: str,
        quantity: str,
        found: FloatArray,
        wanted: FloatArray,
        measure: Measure,
        limit: float,
        feed: Feed,
    ) -> None:
        """An output of a graph beside PyTorch's of the same inputs."""
        check = self._add("torch", graph, quantity, measure(found, wanted), limit)
        if not check.passed:
            self.failing.setdefault(graph, feed)

    def _independent(
        self, graph: str, quantity: str, among: FloatArray, alone: FloatArray, measure: Measure, limit: float
    ) -> None:
        """What the bundle makes of an item among others beside what it makes of it alone."""
        self._add("independence", graph, quantity, measure(among, alone), limit)

    def _same(self, graph: str, quantity: str, *pairs: tuple[NDArray[np.generic], NDArray[np.generic]]) -> None:
        """What both sides make of raw inputs, in which nothing may differ."""
        same = all(np.array_equal(found, wanted) for found, wanted in pairs)
        self._add("inputs", graph, quantity, 0.0 if same else np.inf, 0.5)

    def _add(self, rung: Rung, graph: str, quantity: str, error: float, limit: float, note: str = "") -> Check:
        self._checks.append(Check(rung, graph, quantity, error, limit, note))
        return self._checks[-1]

    def _attempt(self, rung: Rung, graph: str, quantity: str, feed: Feed = ()) -> _Attempt:
        """A context for what the bundle may be unable to compute: the check of this name has failed then.

        Args:
            rung, graph, quantity: where the failed check stands.
            feed: inputs of the graph, where it is compared with PyTorch.
        """
        return _Attempt(self, rung, graph, quantity, feed)


class _Attempt:
    """A comparison that has failed, with a note of why, where onnxruntime refuses to compute."""

    def __init__(self, ladder: Ladder, rung: Rung, graph: str, quantity: str, feed: Feed) -> None:
        self._ladder, self._feed = ladder, feed
        self._place: tuple[Rung, str, str] = (rung, graph, quantity)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, BundleError | DivergenceError):
            return False
        self._ladder._add(*self._place, np.inf, 0.0, f"cannot be computed: {error.message}")
        if self._feed:
            self._ladder.failing.setdefault(self._place[1], self._feed)
        return True
