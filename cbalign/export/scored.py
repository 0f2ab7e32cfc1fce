"""The last rung for tasks that score items: does the bundle say the same of them, and is it as right?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cbalign.evaluation.result import Result
from cbalign.evaluation.scored import ScoredResult
from cbalign.export.parity import WHOLE, Check, Limits


def scored_checks(found: Sequence[Result], expected: Sequence[Result], limits: Limits) -> Iterator[Check]:
    """Compare the headline, and what is said of each item.

    Args:
        found: by the bundle.
        expected: by PyTorch, of the same items.
        limits: of the precision.
    """
    for mine, theirs in zip(found, expected, strict=True):
        assert isinstance(mine, ScoredResult)
        assert isinstance(theirs, ScoredResult)
        items = max(1, mine.items)
        # One item of which another thing is said is no error of the export, and among few it is more than allowed.
        if theirs.headline is not None:
            name = theirs.headline
            lost = abs(theirs.metrics[name] - mine.metrics[name])
            limit = max(limits.recall, 100 / items + 1e-9)
            yield Check("task", WHOLE, f"{name} of {items} items in points", lost, limit)
        other = sum(a != b for a, b in zip(mine.predictions, theirs.predictions))
        allowed = max(limits.codes, 1 / items + 1e-9)
        yield Check("task", WHOLE, "share of items of which it says something else", other / items, allowed)
