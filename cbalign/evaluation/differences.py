"""Differences between two evaluations of the same gallery, as exports are checked for them."""

from __future__ import annotations

from collections.abc import Sequence

from cbalign.evaluation.diagnostics import DIRECTIONS
from cbalign.evaluation.result import RetrievalResult


def largest_difference(a: Sequence[RetrievalResult], b: Sequence[RetrievalResult]) -> tuple[str, float]:
    """Find the recall in which two evaluations by the same protocols differ most, in points."""
    worst, gap = "no recall", 0.0
    for one, other in zip(a, b, strict=True):
        mine, theirs = one.flat(), other.flat()
        for name in mine:
            if name.rpartition("/")[2] in ("r1", "r5", "r10") and abs(mine[name] - theirs[name]) > gap:
                worst, gap = name, abs(mine[name] - theirs[name])
    return worst, gap


def surest_loss(before: Sequence[RetrievalResult], after: Sequence[RetrievalResult]) -> tuple[str, float]:
    """Find the recall that most surely fell between two evaluations of the same gallery, and by how much at least.

    The loss is counted query by query: of those that cross a rank some fall and some rise, and two standard errors of
    their difference, 2√(fallen + risen), are taken off. 0 where nothing fell beyond that.
    """
    worst, loss = "no recall", 0.0
    for one, other in zip(before, after, strict=True):
        for direction in DIRECTIONS:
            old, new = getattr(one, direction).ranks, getattr(other, direction).ranks
            for k in (1, 5, 10):
                fallen, risen = int(((old <= k) & (new > k)).sum()), int(((old > k) & (new <= k)).sum())
                points = 100 * (fallen - risen - 2 * (fallen + risen) ** 0.5) / len(old)
                if points > loss:
                    worst, loss = f"{one.protocol}/{direction}/r{k}", points
    return worst, loss
