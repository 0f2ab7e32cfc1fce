"""Metrics in one CSV file."""

from __future__ import annotations

import csv

from cbalign.engine.tracker import Record, RunInfo
from cbalign_example.sections import CsvTracker


class Csv:
    """Implements `cbalign.engine.tracker.Tracker`: appends to `metrics.csv` in the run directory."""

    def __init__(self, section: CsvTracker, run: RunInfo) -> None:
        self._file = open(run.folder / "metrics.csv", "a", newline="", encoding="utf-8")  # noqa: SIM115 (see close)
        self._rows = csv.writer(self._file)

    def log(self, record: Record) -> None:
        """Append a line for each value."""
        self._rows.writerows((record.kind, record.step, name, value) for name, value in record.values.items())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
