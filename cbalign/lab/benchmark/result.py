"""What a benchmark says: a row per subject, the machine, the versions, and how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from cbalign.lab.benchmark.timing import Speed
from cbalign.runtime.document import json_document

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Timing:
    """Of one part: at batch 1, at the batch with the most items per second, and at every batch that was tried."""

    latency: Speed
    best: Speed
    all: tuple[Speed, ...]


@dataclass(frozen=True)
class Row:
    """One subject. `timings` by part (image, text, match); memory of the machine and of its GPU, and size, in bytes.

    `recall` is in per cent. `note` says why a subject does not run; the rest is empty then.
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
    """All rows, the first one being what the others are compared with.

    `recall_on` names the pictures and captions of the recall. `machine` and `versions` name no host and no user.
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
    rows: tuple[Row, ...]

    def ratio(self, row: Row, part: str) -> float | None:
        """How many times the best throughput of the first row, where both have one."""
        first = self.rows[0].timings.get(part)
        timing = row.timings.get(part)
        return timing.best.per_second / first.best.per_second if first and timing else None

    def to_data(self) -> dict[str, object]:
        """As JSON values."""
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
        return {**asdict(self), "rows": rows}

    def to_json(self) -> str:
        """One indented JSON document."""
        return json_document({"schema_version": SCHEMA_VERSION, **self.to_data()})


def _speed(speed: Speed) -> dict[str, float]:
    return {
        "batch": speed.batch,
        "p50_ms": round(speed.p50, 3),
        "p90_ms": round(speed.p90, 3),
        "p99_ms": round(speed.p99, 3),
        "per_second": round(speed.per_second, 3),
    }
