"""The report of `cbalign benchmark`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbalign.runtime.table import Block, Column, Table

if TYPE_CHECKING:
    from cbalign.lab.benchmark.result import Benchmark


def benchmark_blocks(result: Benchmark) -> list[Block]:
    """Report a benchmark: the machine, speed of each part of the model, memory and recall, and notes."""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    machine = result.machine
    gpu = f", {machine['gpu']}" if "gpu" in machine else ""
    where = f"{result.bundle}: {machine['processor']}, {machine['cores']} cores, {machine['system']}{gpu}"
    speeds = (
        _speeds("image", "images encoded", result),
        _speeds("text", "texts encoded", result),
        _speeds("match", "texts matched with one image", result),
    )
    notes = [f"{row.subject}: {row.note}" for row in result.rows if row.note]
    tables = [table for table in speeds if table.rows]
    head = f"{where}; {result.threads} threads\n{versions}"
    return [head, *tables, _memory_and_recall(result), *notes, *(f"warning: {text}" for text in result.warnings)]


def _speeds(part: str, title: str, result: Benchmark) -> Table:
    rows = []
    for row in result.rows:
        if (timing := row.timings.get(part)) is None:
            continue
        one, best, ratio = timing.latency, timing.best, result.ratio(row, part)
        times = [f"{value:.1f}" for value in (one.p50, one.p90, one.p99)]
        rows.append(
            [row.subject, *times, f"{best.per_second:.1f}", str(best.batch), "–" if ratio is None else f"{ratio:.2f}"]
        )
    latencies = [Column(name, right=True, unit="ms") for name in ("p50", "p90", "p99")]
    header: list[str | Column] = ["", *latencies, "best per s", "at batch", "relative speed"]
    return Table.of(header, rows, right=range(1, 7), title=f"{title}: latency at batch 1, throughput at the best batch")


def _memory_and_recall(result: Benchmark) -> Table:
    on_gpu = any(row.peak_gpu_memory is not None for row in result.rows)
    rows = []
    for row in result.rows:
        if row.note:
            continue
        memory = [_megabytes(row.peak_memory)] + ([_megabytes(row.peak_gpu_memory)] if on_gpu else [])
        recall = [f"{value:.1f}" for value in row.recall.values()] if row.recall else ["–", "–"]
        rows.append([row.subject, row.device, *memory, f"{row.size / 1e6:,.1f}", *recall])
    recall_on = f", R@1 (dual) on {result.recall_on}" if result.recall_on else ""
    sizes = [Column(name, right=True, unit="MB") for name in ("memory", *(["GPU"] if on_gpu else []), "disk")]
    header: list[str | Column] = ["", "device", *sizes, "R@1 image → text", "R@1 text → image"]
    title = f"peak memory of a separate process, weights on disk{recall_on}"
    return Table.of(header, rows, right=range(2, len(header)), title=title)


def _megabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e6:,.0f}"
