"""Training what a sweep still lacks, one after the other."""

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

REPEAT = "Repeat the same command to go on."


def run_sweep(
    cells: Sequence[SweepCell],
    runs: Path,
    reporter: Callable[[], Reporter],
    *,
    argv: Sequence[str] = (),
    begin: Callable[[int, SweepCell], None],
    failed: Callable[[Exception], str],
) -> Iterator[SweepCell]:
    """Train each cell that is missing, go on with each that was begun, and give every cell back as it then is.

    One that fails does not stop the rest. Finished ones are left as they are, and so are diverged ones, because they
    would diverge again, and those that another process trains.

    Args:
        cells: as `match_runs` found them.
        runs: the folder of runs.
        reporter: makes what shows the progress of one training.
        argv: the command, for the manifests.
        begin: is told the position of a cell before its training.
        failed: is told what went wrong; its text is kept as the reason.

    Raises:
        Interrupted: a signal arrived; the training under way saved a checkpoint.
        UsageError: several processes were started together.
    """
    placement = read_placement(os.environ)
    if placement is not None and placement.size > 1:
        raise UsageError(
            "A sweep trains in one process; it was started in several.", remedy="Start it without torchrun or srun."
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
    """Give a finished training's memory back before the next one needs it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
