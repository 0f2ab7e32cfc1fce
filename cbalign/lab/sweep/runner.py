"""Run the missing trainings of a sweep one after the other."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from cbalign.engine.placement import read_placement
from cbalign.engine.reporter import Reporter
from cbalign.engine.run import RunFolder
from cbalign.engine.signals import StopNow, StopSignals
from cbalign.errors import Interrupted, UsageError
from cbalign.lab.sweep.matrix import SweepCell
from cbalign.tasks.train import resume_run, train_experiment

REPEAT = "Repeat the same command to continue."


def run_sweep(
    cells: Sequence[SweepCell],
    runs: Path,
    reporter: Callable[[], Reporter],
    *,
    argv: Sequence[str] = (),
    begin: Callable[[int, SweepCell], None],
    failed: Callable[[Exception], str],
) -> Iterator[SweepCell]:
    """Train missing cells, resume those that were begun, and yield every cell in its new state.

    A failed training does not stop the others. Finished cells are skipped, as are diverged ones, which would diverge
    again, and those that another process is training.

    Args:
        cells: the result of `match_runs`.
        runs: the folder of runs.
        reporter: creates the progress reporter of one training.
        argv: the command, recorded in the manifests.
        begin: called with the position and the cell before its training.
        failed: called with the exception of a failed training; returns the reason to show.

    Raises:
        Interrupted: a signal arrived; the current training saved a checkpoint.
        UsageError: several processes were started together.
    """
    placement = read_placement(os.environ)
    if placement is not None and placement.size > 1:
        raise UsageError(
            "A sweep trains in one process, but several were started.", remedy="Start it without torchrun or srun."
        )
    with StopSignals() as signals:
        for index, cell in enumerate(cells):
            if cell.state not in ("missing", "begun"):
                yield cell
                continue
            begin(index, cell)
            try:
                with signals.immediate():
                    run = _train(cell, runs, reporter(), argv)
            except StopNow:
                message = f"Stopped by {signals.received} before training {index + 1} of {len(cells)} began."
                raise Interrupted(message, remedy=REPEAT) from None
            except Interrupted as stop:
                raise Interrupted(stop.message, remedy=REPEAT) from None
            except Exception as error:
                yield replace(cell, state="failed", message=failed(error))
            else:
                yield replace(cell, state="finished", run=run)
            _release()


def _train(cell: SweepCell, runs: Path, reporter: Reporter, argv: Sequence[str]) -> RunFolder:
    if cell.run is not None:
        return resume_run(cell.run, (), reporter, argv=argv).run
    return train_experiment(cell.loaded, runs, reporter, argv=argv).run


def _release() -> None:
    """Release the memory of a finished training."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
