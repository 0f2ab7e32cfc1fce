"""Average the metrics of each setting of a sweep over its seeds."""

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
    """Mean and sample standard deviation (n − 1) of `count` runs; a single run has no deviation."""

    mean: float
    sd: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Average:
        """Average one or more values."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class SweepRow:
    """One setting: one cell per seed, and the averages of the finished cells."""

    setting: tuple[PathValue, ...]
    cells: tuple[SweepCell, ...]
    metrics: Mapping[str, Average]

    @property
    def finished(self) -> int:
        """Number of finished cells."""
        return sum(cell.state == "finished" for cell in self.cells)


def collect(cells: Sequence[SweepCell]) -> list[SweepRow]:
    """Return the rows of a sweep in the order of its cells.

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
