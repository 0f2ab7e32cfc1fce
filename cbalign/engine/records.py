"""Where a training's numbers go: `metrics.jsonl` and TensorBoard."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cbalign.engine.files import remove_unfinished, storage_errors, write_durably
from cbalign.errors import CheckpointError


@dataclass(frozen=True)
class Record:
    """Numbers after `step` optimiser steps: of a logged stretch of training, or of an evaluation."""

    kind: Literal["train", "evaluation"]
    step: int
    epoch: float
    values: Mapping[str, float]

    def to_json(self) -> str:
        """One line; numbers that are not finite become null."""
        values = {name: value if math.isfinite(value) else None for name, value in self.values.items()}
        return json.dumps({"kind": self.kind, "step": self.step, "epoch": round(self.epoch, 6), **values})


class MetricsFile:
    """`metrics.jsonl`, continued after step `done`.

    Lines of later steps, which a killed process wrote after its last checkpoint, are cut off first: those steps are
    done, and written, again. So every step is there exactly once.

    Raises:
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, done: int) -> None:
        self._path = path
        self._evaluations: dict[int, Mapping[str, float]] = {}
        remove_unfinished(path.parent)
        old = path.read_bytes() if path.exists() else b""
        kept = b"".join(line for line in old.splitlines(keepends=True) if self._keep(line, done))
        if kept != old or not path.exists():
            write_durably(path, kept)
        with storage_errors(path):
            self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (closed by close)

    def _keep(self, line: bytes, done: int) -> bool:
        record = _parse(line)
        if record is None or record.step > done:
            return False
        if record.kind == "evaluation":
            self._evaluations[record.step] = record.values
        return True

    def evaluation(self, step: int) -> Mapping[str, float]:
        """What the evaluation after `step` steps measured; empty if it is not written."""
        return self._evaluations.get(step, {})

    def write(self, record: Record) -> None:
        """Add one line.

        Raises:
            StorageError: the disk is full.
        """
        with storage_errors(self._path):
            self._file.write(record.to_json() + "\n")
        if record.kind == "evaluation":
            self._evaluations[record.step] = record.values

    def sync(self) -> None:
        """Make what is written survive a power cut, so that no checkpoint is ahead of its lines."""
        with storage_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with storage_errors(self._path):
            self._file.close()


def read_records(path: Path) -> list[Record]:
    """What a `metrics.jsonl` holds so far; the half line that a killed process left is passed over.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise CheckpointError(f"Cannot read the metrics in {path}: {error.strerror or error}.") from error
    return [record for line in lines if (record := _parse(line)) is not None]


def _parse(line: bytes) -> Record | None:
    """The record of a whole line; None for anything else."""
    if not line.endswith(b"\n"):
        return None
    try:
        values = json.loads(line)
        return Record(values["kind"], int(values["step"]), float(values["epoch"]), _numbers(values))
    except (ValueError, TypeError, KeyError):
        return None


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    named = {name: value for name, value in values.items() if name not in ("kind", "step", "epoch")}
    return {name: math.nan if value is None else float(value) for name, value in named.items()}


class TensorBoardFile:
    """The same numbers as TensorBoard curves, continued after step `done`."""

    def __init__(self, folder: Path, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import

        self._folder = folder
        with storage_errors(folder):
            self._writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def write(self, record: Record) -> None:
        """Add one point to each curve."""
        with storage_errors(self._folder):
            for name, value in record.values.items():
                title = name if "/" in name else f"{record.kind}/{name}"
                self._writer.add_scalar(title, value, record.step)

    def close(self) -> None:
        """Write what is buffered."""
        with storage_errors(self._folder):
            self._writer.close()


class Window:
    """Means of everything measured since the last log line, as sums and counts that a checkpoint can hold."""

    def __init__(self, totals: Mapping[str, tuple[float, int]] | None = None) -> None:
        self._totals = dict(totals or {})

    def add(self, values: Mapping[str, float]) -> None:
        """Take in one step's numbers; a name may be absent from some steps."""
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
        """Put other sums in place; counts stay."""
        self._totals = {name: (totals[name], count) for name, (_, count) in self._totals.items()}

    def clear(self) -> None:
        """Start anew."""
        self._totals.clear()
