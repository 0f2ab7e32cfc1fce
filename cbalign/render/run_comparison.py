"""Reports of `cbalign runs compare`: settings and metrics as rows, runs as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from cbalign.experiment.dump import inline
from cbalign.lab.runs.comparison import ComparedRun, RunComparison
from cbalign.lab.runs.lookup import identity
from cbalign.parts.metrics import better, is_better
from cbalign.render.quantities import number, shown
from cbalign.render.runs import moment
from cbalign.render.text import comma_separated
from cbalign.runtime.table import Block, Table


def comparison_blocks(compared: RunComparison) -> list[Block]:
    """Report what differs between runs, grouped by effect."""
    header = ("run", *_names(compared))
    table = Table.of(header, list(_rows(compared)), right=range(1, len(header)))
    return [table] if compared.sorted_by is None else [f"best first by {compared.sorted_by}", table]


def _names(compared: RunComparison) -> list[str]:
    return [identity(entry.run.folder.name) for entry in compared.entries]


def _rows(compared: RunComparison) -> Iterator[list[str]]:
    entries = compared.entries
    yield ["  started", *(moment(e.manifest.created) for e in entries)]
    yield ["  state", *(e.status for e in entries)]
    yield ["  step", *(str(e.step) for e in entries)]
    for effect, found in compared.settings.by_effect.items():
        yield _heading(effect.value.upper(), entries)
        yield from ([f"  {d.path}", *map(shown, d.cells)] for d in found)
    if compared.metrics:
        yield _heading("METRICS", entries)
        yield from ([f"  {name}", *_metric_cells(name, entries)] for name in compared.metrics)


def _heading(title: str, entries: Sequence[ComparedRun]) -> list[str]:
    return [click.style(title, bold=True), *("" for _ in entries)]


def _metric_cells(metric: str, entries: Sequence[ComparedRun]) -> list[str]:
    """The values of all runs, the best one bold if one is."""
    values = [entry.metrics.get(metric) for entry in entries]
    if better(metric) == "neither":
        return [number(value) for value in values]
    present = [value for value in values if value is not None]
    best = present[0]
    for value in present[1:]:
        best = value if is_better(metric, value, best) else best
    return [click.style(number(value), bold=True) if value == best else number(value) for value in values]


def comparison_markdown(compared: RunComparison) -> str:
    """The comparison as one Markdown table."""
    header = ["", *_names(compared)]
    rows = [["state", *(entry.status for entry in compared.entries)]]
    rows += [[f"`{d.path}`", *(shown(cell) for cell in d.cells)] for d in compared.settings.differences]
    rows += [[name, *(number(e.metrics.get(name)) for e in compared.entries)] for name in compared.metrics]
    return Table.of(header, rows, right=range(1, len(header))).markdown()


def comparison_csv(compared: RunComparison) -> str:
    """The comparison with a line for each run and a column for each setting and metric."""
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


def comparison_document(compared: RunComparison) -> dict[str, Any]:
    """The comparison as JSON values: what differs, and all metrics of each run."""
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
