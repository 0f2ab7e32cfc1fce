"""Result of a benchmark: a row per target, machine, versions, and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from cbalign.lab.benchmark.timing import Speed
from cbalign.runtime.document import json_document

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Timing:
    """Speed of one part: at batch 1, at the fastest batch size, and at all measured batch sizes."""

    latency: Speed
    best: Speed
    all: tuple[Speed, ...]


@dataclass(frozen=True)
class BenchmarkRow:
    """One target. `timings` are by part (image, text, match); host memory, GPU memory and size are in bytes.

    `recall` is in per cent. `note` is the reason if the target does not run; the other values are then empty.
    """

    subject: str
    device: str
    timings: Mapping[str, Timing]
    peak_memory: int | None
    peak_gpu_memory: int | None
    size: int
    recall: Mapping[str, float] | None
    note: str | None


@dataclass(frozen=True)
class Benchmark:
    """All rows; the first one is the baseline.

    `recall_on` names the images and captions of the recall. `machine` and `versions` contain no host or user names.
    """

    bundle: str
    spec_fingerprint: str
    opset: int
    threads: int
    rounds: int
    batch_rounds: int
    recall_on: str | None
    machine: Mapping[str, str | int]
    versions: Mapping[str, str]
    created: str  # UTC, ISO 8601
    rows: tuple[BenchmarkRow, ...]
    load: float | None = None  # processes that ran or waited before the measurement, averaged over a minute

    def ratio(self, row: BenchmarkRow, part: str) -> float | None:
        """Return the best throughput relative to the first row; None if one is missing or its times vary too much."""
        first = self.rows[0].timings.get(part)
        timing = row.timings.get(part)
        if not (first and timing and first.best.is_steady and timing.best.is_steady):
            return None
        return timing.best.per_second / first.best.per_second

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the measurement unreliable, in sentences."""
        cores = self.machine.get("cores")
        found = []
        if self.load is not None and isinstance(cores, int) and self.load > cores / 2:
            found.append(
                f"The machine was busy (load {self.load:.1f} on {cores} cores): times are too long, and ratios favour "
                "what uses fewer threads. Stop other programs and repeat, or use --threads 1."
            )
        unsteady = [
            f"{row.subject} ({part})"
            for row in self.rows
            for part, timing in row.timings.items()
            if not timing.best.is_steady
        ]
        if unsteady:
            found.append(f"Times vary too much for a relative speed: {', '.join(unsteady)}.")
        return tuple(found)

    def to_data(self) -> dict[str, object]:
        """Return the result as JSON values."""
        rows = []
        for row in self.rows:
            timings = {
                part: {
                    "latency": _speed(timing.latency),
                    "best": {**_speed(timing.best), "times_first_row": self.ratio(row, part)},
                    "all": [_speed(speed) for speed in timing.all],
                }
                for part, timing in row.timings.items()
            }
            rows.append({**asdict(row), "timings": timings})
        return {**asdict(self), "rows": rows, "warnings": list(self.warnings)}

    def to_json(self) -> str:
        """Return the result as an indented JSON document."""
        return json_document({"schema_version": SCHEMA_VERSION, **self.to_data()})


def _speed(speed: Speed) -> dict[str, float]:
    return {
        "batch": speed.batch,
        "p50_ms": round(speed.p50, 3),
        "p90_ms": round(speed.p90, 3),
        "p99_ms": round(speed.p99, 3),
        "per_second": round(speed.per_second, 3),
    }
