"""`metrics.jsonl`: every log line and evaluation of a run, each once."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cbalign.engine.files import remove_unfinished, storage_errors, write_durably
from cbalign.engine.tracker import Record
from cbalign.errors import CheckpointError


class MetricsFile:
    """Implements `Tracker`: `metrics.jsonl`, continued after step `done`.

    Lines of later steps, which a killed process wrote after its last checkpoint, are removed first. Those steps are
    computed and written again, so that the file has every step exactly once.

    Raises:
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, done: int) -> None:
        self._path = path
        self.evaluations: dict[int, Mapping[str, float]] = {}  # metrics by step
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
            self.evaluations[record.step] = record.values
        return True

    def evaluation(self, step: int) -> Mapping[str, float]:
        """The metrics of the evaluation after `step` steps; empty if there is none."""
        return self.evaluations.get(step, {})

    def log(self, record: Record) -> None:
        """Append one line.

        Raises:
            StorageError: the disk is full.
        """
        with storage_errors(self._path):
            self._file.write(record.to_json() + "\n")
        if record.kind == "evaluation":
            self.evaluations[record.step] = record.values

    def sync(self) -> None:
        """Sync the file to disk, so that no checkpoint is ahead of its lines after a power cut."""
        with storage_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with storage_errors(self._path):
            self._file.close()


def read_records(path: Path) -> list[Record]:
    """Read a `metrics.jsonl`; an incomplete last line of a killed process is skipped.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise CheckpointError(f"Cannot read the metrics in {path}: {error.strerror or error}.") from error
    return [record for line in lines if (record := _parse(line)) is not None]


def _parse(line: bytes) -> Record | None:
    """The record of a complete line; None for anything else."""
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
