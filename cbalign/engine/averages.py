"""Averages of a training's numbers between two log lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch

from cbalign.engine.distribution import World


class Averages:
    """Means of everything measured since the last log line, as sums and counts that a checkpoint can store."""

    def __init__(self, totals: Mapping[str, tuple[float, int]] | None = None) -> None:
        self._totals = dict(totals or {})

    def add(self, values: Mapping[str, float]) -> None:
        """Add the numbers of one step; some steps may lack a name."""
        for name, value in values.items():
            total, count = self._totals.get(name, (0.0, 0))
            self._totals[name] = (total + value, count + 1)

    def means(self) -> dict[str, float]:
        """The mean of each name."""
        return {name: total / count for name, (total, count) in self._totals.items()}

    def totals(self) -> dict[str, tuple[float, int]]:
        """Sum and count of each name."""
        return dict(self._totals)

    def reduce(self, world: World) -> Self:
        """Replace the sums by their means over all processes, so that all save and log the same numbers."""
        if world.size > 1:
            sums = torch.tensor([total for total, _ in self._totals.values()], device=world.device, dtype=torch.float64)
            counts = [count for _, count in self._totals.values()]
            self._totals = dict(zip(self._totals, zip(world.mean(sums).tolist(), counts)))
        return self

    def clear(self) -> None:
        """Forget everything."""
        self._totals.clear()
