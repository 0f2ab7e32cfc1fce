"""What a training writes into its run besides checkpoints: who works on it, its numbers, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Self

from cbalign.engine.distribution import World
from cbalign.engine.manifest import Manifest, Status
from cbalign.engine.precision import Precision
from cbalign.engine.provenance import describe_attempt
from cbalign.engine.records import MetricsFile, Record, TensorBoardFile
from cbalign.engine.run import Run


class Journal:
    """The manifest and the records of one run, written by the main process; a context that closes them.

    Every process calls every method: those that give something give all processes what the main one read.

    Raises:
        StorageError: a file cannot be written.
        CheckpointError: the manifest is damaged.
    """

    def __init__(self, run: Run, world: World) -> None:
        self._run, self._world = run, world
        self._files = ExitStack()
        self._metrics: MetricsFile | None = None
        self._board: TensorBoardFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    @property
    def precision(self) -> Precision | None:
        """What the run began to compute in, if it has begun."""
        return self._world.share(Manifest.read(self._run.manifest).precision if self._world.is_main else None)

    def resume(self, done: int) -> None:
        """Cut the records to the first `done` steps and go on behind them."""
        if self._world.is_main:
            self._metrics = MetricsFile(self._run.metrics, done)
            self._files.callback(self._metrics.close)
            self._board = TensorBoardFile(self._run.tensorboard, done)
            self._files.callback(self._board.close)

    def begin(self, *, from_step: int, argv: tuple[str, ...], precision: Precision) -> None:
        """Write down who works on the run."""
        if self._world.is_main:
            attempt = describe_attempt(
                from_step=from_step,
                argv=argv,
                device=self._world.device,
                precision=precision,
                processes=self._world.size,
            )
            Manifest.read(self._run.manifest).begin(attempt).write(self._run.manifest)

    def end(self, status: Status, *, step: int, message: str = "", metrics: Mapping[str, float] | None = None) -> None:
        """Write down how it ended."""
        if self._world.is_main:
            manifest = Manifest.read(self._run.manifest)
            manifest.end(status, step=step, message=message, metrics=metrics or {}).write(self._run.manifest)

    def write(self, record: Record) -> None:
        """Add numbers to `metrics.jsonl` and TensorBoard."""
        for file in (self._metrics, self._board):
            if file is not None:
                file.write(record)

    def evaluation(self, step: int) -> Mapping[str, float]:
        """What the evaluation after `step` steps measured; empty if it is not written."""
        return self._world.share(self._metrics.evaluation(step) if self._metrics is not None else {})

    def sync(self) -> None:
        """Make what is written survive a power cut, so that no checkpoint is ahead of its lines."""
        if self._metrics is not None:
            self._metrics.sync()
