"""Validate every training of a sweep, and match it with existing runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder, find_runs, summarise_run
from cbalign.errors import SpecError
from cbalign.experiment.dump import experiment_fingerprint
from cbalign.experiment.load import LoadedExperiment, load_experiment
from cbalign.lab.sweep.space import SEED, PathValue

CellState = Literal["missing", "begun", "running", "finished", "diverged", "failed"]
_STATES: dict[str, CellState] = {"finished": "finished", "diverged": "diverged", "running": "running"}
_PREFERRED: tuple[CellState, ...] = ("finished", "running", "begun", "diverged")


@dataclass(frozen=True)
class SweepCell:
    """One training of a sweep: its run, if it has one, its state, and the reason if it failed."""

    changes: tuple[PathValue, ...]
    loaded: LoadedExperiment
    fingerprint: str
    state: CellState = "missing"
    run: RunFolder | None = None
    message: str = ""

    @property
    def setting(self) -> tuple[PathValue, ...]:
        """The changes without the seed; results are averaged over seeds."""
        return tuple(change for change in self.changes if change[0] != SEED)

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return self.loaded.experiment.train.seed


def build_matrix(
    spec: str, overrides: Sequence[str], profiles: Sequence[str], changes: Sequence[tuple[PathValue, ...]]
) -> list[SweepCell]:
    """Validate the spec with each of the changes; equal trainings are merged.

    Raises:
        SpecError: some combinations are invalid; each mistake is listed once.
    """
    cells: dict[str, SweepCell] = {}
    mistakes: dict[str, str] = {}
    for each in changes:
        try:
            loaded = load_experiment(
                spec, [*overrides, *(f"{path}={value}" for path, value in each)], profiles=profiles
            )
        except SpecError as error:
            mistakes.setdefault(str(error), named(each))
            continue
        mark = experiment_fingerprint(loaded.experiment)
        cells.setdefault(mark, SweepCell(each, loaded, mark))
    if len(mistakes) == 1 and not cells:  # the spec itself is invalid
        raise SpecError(next(iter(mistakes)))
    if mistakes:
        raise SpecError("\n\n".join(f"with {where}:\n{text}" for text, where in mistakes.items()))
    return list(cells.values())


def match_runs(cells: Sequence[SweepCell], runs: Path) -> list[SweepCell]:
    """Match cells with readable runs of the same experiment; finished runs take precedence over runs to resume."""
    found: dict[str, list[RunFolder]] = {}
    for run in find_runs(runs):
        found.setdefault(Manifest.read(run.manifest).spec_fingerprint, []).append(run)
    return [_with_run(cell, found.get(cell.fingerprint, [])) for cell in cells]


def _with_run(cell: SweepCell, runs: Sequence[RunFolder]) -> SweepCell:
    states: dict[CellState, RunFolder] = {}
    for run in runs:  # if several have the same state, the newest wins
        states[_STATES.get(summarise_run(run).status, "begun")] = run
    state = next((state for state in _PREFERRED if state in states), None)
    if state is None:
        return cell
    return SweepCell(cell.changes, cell.loaded, cell.fingerprint, state, states[state])


def named(changes: Sequence[PathValue]) -> str:
    """Format changes: `train.optimizer.lr=1e-4 train.seed=0`."""
    return " ".join(f"{path}={value}" for path, value in changes)
