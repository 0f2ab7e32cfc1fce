"""Compare a bundle with the trained model on real inputs, for any task.

Kinds of checks, in order:

- torch: compares every output of every graph, for several batch sizes and lengths.
- independence: compares the output for an item alone with its output in a batch, and next to longer items.
- inputs: compares token ids and pixels that the shipped tokenizer and preprocessing make from raw texts and images.
- codes: compares the codes of vectors, images and texts, if the model has a codebook.
- task: compares predictions and task metrics.

The kind "checker" comes first and inspects the files (see `cbalign.exporting.verification`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import FloatArray
from cbalign.errors import BundleError, DivergenceError
from cbalign.evaluation.result import Result
from cbalign.exporting.parity import CHECK_KINDS, CheckKind, Feed, Limits, Measure, ParityCheck, PrecisionReport
from cbalign.runtime.precisions import precision_section

Part: TypeAlias = tuple[str, Callable[[], None]]
"""Name of a part of the comparison, as reported to the progress callback, and the function that runs its checks."""


class ParityChecks(ABC):
    """Parity checks of one precision of a bundle against the trained model.

    Args:
        precision: precision to compare; it sets the limits.
        report: progress callback; receives the name of each part.
    """

    def __init__(self, precision: str, report: Callable[[str], None]) -> None:
        self.precision = precision
        self.limits: Limits = Limits.of(precision_section(precision).limits)
        self.failing: dict[str, Feed] = {}
        """Inputs of the first failed comparison with PyTorch, by graph."""
        self._report = report
        self._checks: list[ParityCheck] = []
        self._results: tuple[Result, ...] = ()  # of the bundle on the task

    def run(self) -> PrecisionReport:
        """Run every check. A check fails if onnxruntime cannot compute its outputs."""
        for name, compare in self._parts():
            self._report(name)
            compare()
        checks = sorted(self._checks, key=lambda check: CHECK_KINDS.index(check.kind))
        return PrecisionReport(self.precision, tuple(checks), self._results)

    @abstractmethod
    def _parts(self) -> Iterable[Part]:
        """Return the parts in order: the graphs, the inputs, and finally the task, which sets `_results`."""

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
        """Compare an output of a graph with PyTorch's output for the same inputs."""
        check = self._add("torch", graph, quantity, measure(found, wanted), limit)
        if not check.passed:
            self.failing.setdefault(graph, feed)

    def _independent(
        self, graph: str, quantity: str, among: FloatArray, alone: FloatArray, measure: Measure, limit: float
    ) -> None:
        """Compare the bundle's output for an item in a batch with its output for the item alone."""
        self._add("independence", graph, quantity, measure(among, alone), limit)

    def _same(self, graph: str, quantity: str, *pairs: tuple[NDArray[np.generic], NDArray[np.generic]]) -> None:
        """Require that both sides prepare raw inputs identically."""
        same = all(np.array_equal(found, wanted) for found, wanted in pairs)
        self._add("inputs", graph, quantity, 0.0 if same else np.inf, 0.5)

    def _add(
        self, kind: CheckKind, graph: str, quantity: str, error: float, limit: float, note: str = ""
    ) -> ParityCheck:
        self._checks.append(ParityCheck(kind, graph, quantity, error, limit, note))
        return self._checks[-1]

    def _attempt(self, kind: CheckKind, graph: str, quantity: str, feed: Feed = ()) -> _Attempt:
        """Return a context manager that records a failed check if the bundle cannot compute its outputs.

        Args:
            kind, graph, quantity: identify the failed check.
            feed: inputs of the graph, if it is compared with PyTorch.
        """
        return _Attempt(self, kind, graph, quantity, feed)


class _Attempt:
    """Records a failed check, with the reason as its note, if onnxruntime raises an error."""

    def __init__(self, checks: ParityChecks, kind: CheckKind, graph: str, quantity: str, feed: Feed) -> None:
        self._checks, self._feed = checks, feed
        self._place: tuple[CheckKind, str, str] = (kind, graph, quantity)

    def __enter__(self) -> None:
        pass

    def __exit__(self, error_type: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, BundleError | DivergenceError):
            return False
        self._checks._add(*self._place, np.inf, 0.0, f"cannot be computed: {error.message}")
        if self._feed:
            self._checks.failing.setdefault(self._place[1], self._feed)
        return True
