"""How runs are printed: a list, one of them, several side by side."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from cbalign.cli.console import table
from cbalign.cli.quantities import ago, in_bytes, number
from cbalign.cli.tables import comma_separated, markdown
from cbalign.engine.manifest import Attempt
from cbalign.experiment.diff import Cell
from cbalign.experiment.dump import inline
from cbalign.lab.runs.comparison import Entry, RunComparison
from cbalign.lab.runs.detail import Detail
from cbalign.lab.runs.lookup import identity
from cbalign.lab.runs.metrics import is_better
from cbalign.lab.runs.overview import Overview

ABSENT = "–"
WIDEST = 40
_Line = tuple[str, list[str]]  # a label and a cell for each run
_COLOURS = {"finished": "green", "running": "cyan", "diverged": "red", "failed": "red"}


def as_list(found: Sequence[Overview]) -> str:
    """One line a run. A metric that all share stands in the heading."""
    shared = {each.metric.name for each in found if each.metric}
    one = next(iter(shared)) if len(shared) == 1 else None
    rows = []
    for each in found:
        metric = each.metric
        last, best = (
            (number(metric.last), f"{number(metric.best)} at step {metric.best_step}") if metric else (ABSENT, ABSENT)
        )
        named = [] if one else [metric.name if metric else ABSENT]
        state = click.style(each.status, fg=_COLOURS.get(each.status))
        rows.append(
            (each.run.folder.name, state, str(each.step), ago(each.age), in_bytes(each.size), *named, last, best)
        )
    header = ("run", "state", "step", "age", "size", *([] if one else ["metric"]), "last", "best")
    text = table(header, rows, right=(2, 3, 4, len(header) - 2))
    return f"{text}\n\nlast, best: {one}" if one else text


def as_card(detail: Detail) -> str:
    """Everything about one run, in blocks."""
    seen, manifest = detail.overview, detail.manifest
    facts = [
        ("state", f"{click.style(seen.status, fg=_COLOURS.get(seen.status))}, step {seen.step}"),
        ("made", f"{_moment(manifest.created)} ({ago(seen.age)} ago)"),
        *([("rerun of", manifest.rerun_of)] if manifest.rerun_of else []),
        ("size", in_bytes(seen.size)),
        ("spec", f"{seen.run.resolved}, fingerprint {manifest.spec_fingerprint[:12]}"),
        *((name, _fact(value)) for name, value in manifest.facts.items()),
    ]
    blocks = [f"{click.style(str(seen.run.folder), bold=True)}\n{_pairs(facts)}"]
    settings = [
        (f"  {d.path}", _shown(d.cells[1]), f"({_shown(d.cells[0])})", d.effect.value)
        for d in detail.settings.differences
    ]
    blocks.append(_titled("settings (and their defaults)", ("", "", "", ""), settings))
    attempts = [_attempt(i, attempt) for i, attempt in enumerate(manifest.attempts, 1)]
    blocks.append(_titled("attempts", ("", "", "", "", "", ""), attempts))
    if manifest.attempts:
        last = manifest.attempts[-1]
        versions = [(name, version) for name, version in last.versions.items()]
        environment = [("host", last.host), ("device", last.device), ("code", last.revision or "unknown"), *versions]
        blocks.append(f"{click.style('environment of the last attempt', bold=True)}\n{_pairs(environment)}")
    metrics = [(f"  {c.name}", number(c.last), number(c.best), str(c.best_step)) for c in detail.metrics]
    blocks.append(_titled("metrics of the training", ("", "last", "best", "at step"), metrics, right=(1, 2, 3)))
    losses = [(f"  {name}", number(value)) for name, value in detail.losses.items()]
    blocks.append(_titled("last log line", ("", ""), losses, right=(1,)))
    checkpoints = [(f"  {name}", in_bytes(size)) for name, size in detail.checkpoints.items()]
    blocks.append(_titled("checkpoints", ("", ""), checkpoints, right=(1,)))
    blocks.append(_titled("evaluations", ("", "", ""), list(_evaluations(detail))))
    return "\n\n".join(block for block in blocks if block)


def _titled(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    if not rows:
        return ""
    return f"{click.style(title, bold=True)}\n{table(header, rows, right=right).lstrip(chr(10))}"


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    return table(("", ""), [(f"  {name}", value) for name, value in rows]).lstrip("\n")


def _fact(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_fact(each)}" for name, each in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _moment(written: str) -> str:
    """A manifest's time, which is in UTC, to the second."""
    return datetime.fromisoformat(written).strftime("%Y-%m-%d %H:%M:%S UTC")


def _attempt(index: int, attempt: Attempt) -> tuple[str, ...]:
    steps = f"steps {attempt.from_step}–{'' if attempt.to_step is None else attempt.to_step}"
    message = f": {attempt.message.splitlines()[0]}" if attempt.message else ""
    processes = f"{attempt.processes} process{'es' * (attempt.processes > 1)}"
    return f"  {index}", _moment(attempt.started), steps, attempt.status + message, processes, shlex.join(attempt.argv)


def _evaluations(detail: Detail) -> Iterator[tuple[str, str, str]]:
    for file, evaluation in detail.evaluations.items():
        for result in evaluation.results:
            recalls = "  ".join(f"{name} {number(v)}" for name, v in result.headlines().items())
            yield f"  {file}", result.describe(), recalls


def as_card_data(detail: Detail) -> dict[str, Any]:
    """The same for machines, unshortened."""
    manifest = asdict(detail.manifest)
    return {
        **detail.overview.to_json(),
        "id": manifest["id"],
        "rerun_of": manifest["rerun_of"],
        "spec_fingerprint": manifest["spec_fingerprint"],
        "facts": manifest["facts"],
        "settings": [
            {
                "path": d.path,
                "effect": d.effect.value,
                "value": d.cells[1].value if d.cells[1] else None,
                "default": d.cells[0].value if d.cells[0] else None,
            }
            for d in detail.settings.differences
        ],
        "attempts": manifest["attempts"],
        "metrics": {c.name: {"last": c.last, "best": c.best, "best_step": c.best_step} for c in detail.metrics},
        "losses": dict(detail.losses),
        "checkpoints": dict(detail.checkpoints),
        "evaluations": {file: evaluation.to_data() for file, evaluation in detail.evaluations.items()},
    }


def as_comparison_text(compared: RunComparison, width: int | None) -> str:
    """Settings and metrics as lines, runs as columns; as many beside each other as the terminal holds."""
    names = [identity(entry.run.folder.name) for entry in compared.entries]
    head: list[_Line] = [
        ("  started", [_moment(e.manifest.created) for e in compared.entries]),
        ("  state", [e.status for e in compared.entries]),
        ("  step", [str(e.step) for e in compared.entries]),
    ]
    blocks: list[tuple[str, list[_Line]]] = [("", head)]
    for effect, found in compared.settings.by_effect.items():
        blocks.append((effect.value.upper(), [(f"  {d.path}", [_shown(cell) for cell in d.cells]) for d in found]))
    metrics: list[_Line] = [(f"  {name}", _metric_cells(name, compared.entries)) for name in compared.metrics]
    if metrics:
        blocks.append(("METRICS", metrics))
    parts = [] if compared.sorted_by is None else [f"best first by {compared.sorted_by}"]
    for start, stop in _slices(names, blocks, width):
        rows = []
        for title, lines in blocks:
            rows += [(click.style(title, bold=True), *[""] * (stop - start))] if title else []
            rows += [(label, *cells[start:stop]) for label, cells in lines]
        parts.append(table(("run", *names[start:stop]), rows, right=range(1, stop - start + 1)))
    return "\n\n".join(parts)


def _slices(
    names: Sequence[str], blocks: Sequence[tuple[str, Sequence[_Line]]], width: int | None
) -> Iterator[tuple[int, int]]:
    """Ranges of runs whose columns fit beside the labels."""
    lines = [line for _, rows in blocks for line in rows]
    label = max(len(name) for name, _ in lines)
    widths = [max(len(names[i]), *(len(click.unstyle(cells[i])) for _, cells in lines)) + 2 for i in range(len(names))]
    start, used = 0, label
    for i, column in enumerate(widths):
        if width is not None and i > start and used + column > width:
            yield start, i
            start, used = i, label
        used += column
    yield start, len(names)


def _metric_cells(metric: str, entries: Sequence[Entry]) -> list[str]:
    """The values of all runs, the best one bold."""
    values = [entry.metrics.get(metric) for entry in entries]
    present = [value for value in values if value is not None]
    best = present[0]
    for value in present[1:]:
        best = value if is_better(metric, value, best) else best
    return [click.style(number(value), bold=True) if value == best else number(value) for value in values]


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return ABSENT
    text = inline(cell.value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def as_comparison_markdown(compared: RunComparison) -> str:
    """The same as one Markdown table."""
    header = ["", *(identity(entry.run.folder.name) for entry in compared.entries)]
    rows = [["state", *(entry.status for entry in compared.entries)]]
    rows += [[f"`{d.path}`", *(_shown(cell) for cell in d.cells)] for d in compared.settings.differences]
    rows += [[name, *(number(e.metrics.get(name)) for e in compared.entries)] for name in compared.metrics]
    return markdown(header, rows, right=range(1, len(header)))


def as_comparison_csv(compared: RunComparison) -> str:
    """One line a run, one column a setting or metric."""
    settings = compared.settings.differences
    header = ["run", "name", "state", "step", *(d.path for d in settings), *compared.metrics]
    rows = [
        [
            entry.run.folder.name,
            entry.manifest.name,
            entry.status,
            entry.step,
            *(None if (cell := d.cells[i]) is None else inline(cell.value) for d in settings),
            *(entry.metrics.get(name) for name in compared.metrics),
        ]
        for i, entry in enumerate(compared.entries)
    ]
    return comma_separated(header, rows)


def as_comparison_data(compared: RunComparison) -> dict[str, Any]:
    """For machines: what differs, and all metrics of each run."""
    return {
        "runs": [
            {
                "run": str(entry.run.folder),
                "name": entry.manifest.name,
                "status": entry.status,
                "step": entry.step,
                "metrics": dict(entry.metrics),
            }
            for entry in compared.entries
        ],
        "settings": [
            {
                "path": d.path,
                "effect": d.effect.value,
                "values": [cell.value if cell else None for cell in d.cells],
                "present": [cell is not None for cell in d.cells],
            }
            for d in compared.settings.differences
        ],
        "metrics": list(compared.metrics),
        "sorted_by": compared.sorted_by,
    }
