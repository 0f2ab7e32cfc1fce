"""Metrics in one CSV file."""

from __future__ import annotations

import csv

from cbalign.engine.tracker import Record, RunInfo
from cbalign_example.sections import CsvTracker


class Csv:
    """Implements `cbalign.engine.tracker.Tracker`: `metrics.csv` in the run directory."""

    def __init__(self, section: CsvTracker, run: RunInfo) -> None:
        path = run.folder / "metrics.csv"
        known = path.read_text("utf-8").splitlines() if path.exists() else []
        # Records of steps after `done` come again. The last line may be incomplete.
        kept = [row for row in csv.reader(known) if len(row) == 4 and int(row[1]) <= run.done]
        self._file = open(path, "w", newline="", encoding="utf-8")  # noqa: SIM115 (see close)
        self._rows = csv.writer(self._file)
        self._rows.writerows(kept)

    def log(self, record: Record) -> None:
        """Append a line for each value."""
        self._rows.writerows((record.kind, record.step, name, value) for name, value in record.values.items())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
