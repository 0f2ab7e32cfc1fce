"""Random choices that are the same on every machine and in every version of Python."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Draws:
    """A stream of random choices that its key determines.

    Built on `Random.random()` alone: of Python's generator, that is what never changes.

    Args:
        key: what tells this stream from others: seed, split, purpose, index.
    """

    def __init__(self, *key: str | int) -> None:
        self._next = random.Random("/".join(map(str, key))).random

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1."""
        return int(self._next() * limit)

    def between(self, low: float, high: float) -> float:
        """A number from `low` up to `high`."""
        return low + (high - low) * self._next()

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._next() < probability

    def choose(self, options: Sequence[_T]) -> _T:
        """One of the options."""
        return options[int(self._next() * len(options))]

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        """The items in random order."""
        rest = list(items)
        for last in range(len(rest) - 1, 0, -1):
            other = int(self._next() * (last + 1))
            rest[last], rest[other] = rest[other], rest[last]
        return rest
