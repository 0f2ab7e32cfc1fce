"""Reports of `cbalign runs list` and `cbalign runs show`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from cbalign.engine.manifest import Attempt, Manifest
from cbalign.lab.runs.detail import Detail
from cbalign.lab.runs.overview import Overview
from cbalign.render.quantities import ABSENT, STATE_COLOURS, ago, in_bytes, number, shown
from cbalign.runtime.table import Block, Table


def list_blocks(found: Sequence[Overview]) -> list[Block]:
    """List runs, one per line; a metric that all share is named once, below the table."""
    shared = {each.metric.name for each in found if each.metric}
    common = next(iter(shared)) if len(shared) == 1 else None
    header = ("run", "state", "step", "age", "size", *([] if common else ["metric"]), "last", "best")
    rows = [_list_row(each, named=common is None) for each in found]
    table = Table.of(header, rows, right=(2, 3, 4, len(header) - 2))
    return [table, f"last, best: {common}"] if common else [table]


def _list_row(seen: Overview, *, named: bool) -> tuple[str, ...]:
    metric = seen.metric
    name, last, best = (ABSENT, ABSENT, ABSENT)
    if metric:
        name, last, best = metric.name, number(metric.last), f"{number(metric.best)} at step {metric.best_step}"
    sizes = (str(seen.step), ago(seen.age), in_bytes(seen.size))
    return (seen.run.folder.name, _state(seen), *sizes, *([name] if named else []), last, best)


def run_blocks(detail: Detail) -> list[Block]:
    """Report everything about one run."""
    seen = detail.overview
    settings = [
        (d.path, shown(d.cells[1]), f"({shown(d.cells[0])})", d.effect.value) for d in detail.settings.differences
    ]
    attempts = [_attempt(i, attempt) for i, attempt in enumerate(detail.manifest.attempts, 1)]
    metrics = [(c.name, number(c.last), number(c.best), str(c.best_step)) for c in detail.metrics]
    losses = [(name, number(value)) for name, value in detail.losses.items()]
    checkpoints = [
        (f"{name} (best)" if name == detail.best else name, in_bytes(size)) for name, size in detail.checkpoints.items()
    ]
    tables = [
        _titled(str(seen.run.folder), _facts(detail)),
        _titled("settings (and their defaults)", settings),
        _titled("attempts", attempts),
        _titled("environment of the last attempt", _environment(detail.manifest)),
        _titled("metrics of the training", metrics, header=("", "last", "best", "at step")),
        _titled("last log line", losses),
        _titled("checkpoints", checkpoints),
        _titled("evaluations", list(_evaluations(detail))),
    ]
    return [table for table in tables if table.rows]


def _titled(title: str, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> Table:
    title = click.style(title, bold=True)
    if header:
        return Table.of(header, rows, right=range(1, len(header)), title=title)
    return Table.headless(rows, title=title)


def _facts(detail: Detail) -> list[tuple[str, str]]:
    seen, manifest = detail.overview, detail.manifest
    return [
        ("state", f"{_state(seen)}, step {seen.step}"),
        ("created", f"{moment(manifest.created)} ({ago(seen.age)} ago)"),
        *([("rerun of", manifest.rerun_of)] if manifest.rerun_of else []),
        ("size", in_bytes(seen.size)),
        ("spec", f"{seen.run.resolved}, fingerprint {manifest.spec_fingerprint[:12]}"),
        *((name, _fact(value)) for name, value in manifest.facts.items()),
    ]


def _environment(manifest: Manifest) -> list[tuple[str, str]]:
    if not manifest.attempts:
        return []
    last = manifest.attempts[-1]
    return [("host", last.host), ("device", last.device), ("code", last.revision or "unknown"), *last.versions.items()]


def _state(seen: Overview) -> str:
    return click.style(seen.status, fg=STATE_COLOURS.get(seen.status))


def _fact(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_fact(each)}" for name, each in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def moment(written: str) -> str:
    """A manifest's time, which is in UTC, to the second."""
    return datetime.fromisoformat(written).strftime("%Y-%m-%d %H:%M:%S UTC")


def _attempt(index: int, attempt: Attempt) -> tuple[str, ...]:
    steps = f"steps {attempt.from_step}–{'' if attempt.to_step is None else attempt.to_step}"
    message = f": {attempt.message.splitlines()[0]}" if attempt.message else ""
    message += f"; accepted changes of {', '.join(attempt.accepted)}" if attempt.accepted else ""
    processes = f"{attempt.processes} process{'es' * (attempt.processes > 1)}"
    return str(index), moment(attempt.started), steps, attempt.status + message, processes, shlex.join(attempt.argv)


def _evaluations(detail: Detail) -> Iterator[tuple[str, str, str]]:
    for file, evaluation in detail.evaluations.items():
        for result in evaluation.results:
            recalls = "  ".join(f"{name} {number(v)}" for name, v in result.headlines().items())
            yield file, result.describe(), recalls


def run_document(detail: Detail) -> dict[str, Any]:
    """Everything about one run as JSON values, unshortened."""
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
        "best": detail.best,
        "evaluations": {file: evaluation.to_data() for file, evaluation in detail.evaluations.items()},
    }
