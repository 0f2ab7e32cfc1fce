"""The last parity checks of tasks that score items: the same predictions, and the same accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cbalign.evaluation.scored import ScoredResult
from cbalign.exporting.parity import WHOLE, Check, Limits


def scored_checks(found: Sequence[ScoredResult], expected: Sequence[ScoredResult], limits: Limits) -> Iterator[Check]:
    """Compare the headline and the predictions.

    Args:
        found: by the bundle.
        expected: by PyTorch, of the same items.
        limits: of the precision.
    """
    for mine, theirs in zip(found, expected, strict=True):
        items = max(1, mine.items)
        # One item with another prediction is no error of the export, but may exceed the limit if there are few.
        if theirs.headline is not None:
            name = theirs.headline
            lost = abs(theirs.metrics[name] - mine.metrics[name])
            limit = max(limits.recall, 100 / items + 1e-9)
            yield Check("task", WHOLE, f"{name} of {items} items in points", lost, limit)
        other = sum(a != b for a, b in zip(mine.predictions, theirs.predictions))
        allowed = max(limits.codes, 1 / items + 1e-9)
        yield Check("task", WHOLE, "share of items of which it says something else", other / items, allowed)
