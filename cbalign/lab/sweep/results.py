"""What a sweep found: each setting's metrics, averaged over its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cbalign.engine.manifest import Manifest
from cbalign.lab.runs.metrics import measured
from cbalign.lab.sweep.matrix import SweepCell
from cbalign.lab.sweep.space import PathValue


@dataclass(frozen=True)
class Average:
    """Mean and standard deviation (of a sample, n − 1) of `count` runs; no deviation of one run."""

    mean: float
    sd: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Average:
        """The average of at least one value."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class SweepRow:
    """One setting: its cells, one a seed, and the averages of those that are finished."""

    setting: tuple[PathValue, ...]
    cells: tuple[SweepCell, ...]
    metrics: Mapping[str, Average]

    @property
    def finished(self) -> int:
        """How many of its cells are."""
        return sum(cell.state == "finished" for cell in self.cells)


def collect(cells: Sequence[SweepCell]) -> list[SweepRow]:
    """The rows of a sweep, in its order.

    Raises:
        CheckpointError: a run cannot be read.
        DataError: a file of results is damaged.
    """
    settings: dict[tuple[PathValue, ...], list[SweepCell]] = {}
    for cell in cells:
        settings.setdefault(cell.setting, []).append(cell)
    return [SweepRow(setting, tuple(members), _averages(members)) for setting, members in settings.items()]


def _averages(cells: Sequence[SweepCell]) -> dict[str, Average]:
    values: dict[str, list[float]] = {}
    for cell in cells:
        if cell.state == "finished" and cell.run is not None:
            for name, value in measured(cell.run, Manifest.read(cell.run.manifest)).items():
                values.setdefault(name, []).append(value)
    return {name: Average.of(each) for name, each in values.items()}
