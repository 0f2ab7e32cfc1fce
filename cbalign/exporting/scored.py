"""Parity checks of kind "task" for tasks that score items: predictions and accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cbalign.evaluation.scored import ScoredResult
from cbalign.exporting.parity import WHOLE, Limits, ParityCheck


def scored_checks(
    found: Sequence[ScoredResult], expected: Sequence[ScoredResult], limits: Limits
) -> Iterator[ParityCheck]:
    """Compare the headline metric and the predictions.

    Args:
        found: results of the bundle.
        expected: results of PyTorch on the same items.
        limits: limits of the precision.
    """
    for mine, theirs in zip(found, expected, strict=True):
        items = max(1, mine.items)
        # One changed prediction is not an export error, but may exceed the limit if there are few items.
        if theirs.headline is not None:
            name = theirs.headline
            lost = abs(theirs.metrics[name] - mine.metrics[name])
            limit = max(limits.recall, 100 / items + 1e-9)
            yield ParityCheck("task", WHOLE, f"{name} of {items} items in points", lost, limit)
        other = sum(a != b for a, b in zip(mine.predictions, theirs.predictions))
        allowed = max(limits.codes, 1 / items + 1e-9)
        yield ParityCheck("task", WHOLE, "share of items with a different prediction", other / items, allowed)
