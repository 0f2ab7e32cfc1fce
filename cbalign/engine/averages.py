"""Averages of a training's numbers between two log lines."""

from __future__ import annotations

from collections.abc import Mapping


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

    def replace(self, totals: Mapping[str, float]) -> None:
        """Replace the sums; counts stay."""
        self._totals = {name: (totals[name], count) for name, (_, count) in self._totals.items()}

    def clear(self) -> None:
        """Forget everything."""
        self._totals.clear()
