"""Random choices that are the same on every machine and for every version of Python."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Draws:
    """A stream of random choices that is determined by its key.

    Based on `Random.random()` only, the part of Python's generator that is guaranteed not to change.

    Args:
        key: distinguishes the stream from others: seed, split, purpose, index.
    """

    def __init__(self, *key: str | int) -> None:
        self._next = random.Random("/".join(map(str, key))).random

    def below(self, limit: int) -> int:
        """Draw a whole number from 0 to `limit` - 1."""
        return int(self._next() * limit)

    def between(self, low: float, high: float) -> float:
        """Draw a number from `low` to `high`."""
        return low + (high - low) * self._next()

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._next() < probability

    def choose(self, options: Sequence[_T]) -> _T:
        """Draw one of the options."""
        return options[int(self._next() * len(options))]

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        """Return the items in random order."""
        rest = list(items)
        for last in range(len(rest) - 1, 0, -1):
            other = int(self._next() * (last + 1))
            rest[last], rest[other] = rest[other], rest[last]
        return rest
