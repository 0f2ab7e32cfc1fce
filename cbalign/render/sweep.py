"""Reports of `cbalign sweep`: the list of its trainings, and the table of their metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from cbalign.lab.sweep.matrix import SweepCell
from cbalign.lab.sweep.results import Average, SweepRow
from cbalign.lab.sweep.space import SEED
from cbalign.render.quantities import ABSENT, STATE_COLOURS, number
from cbalign.render.text import comma_separated
from cbalign.runtime.table import Block, Column, Table, unstyled

BASE = "unchanged spec"


def matrix_table(cells: Sequence[SweepCell]) -> Table:
    """List the trainings, one per row."""
    paths = _paths([cell.changes for cell in cells])
    rows = []
    for i, cell in enumerate(cells, 1):
        changes = dict(cell.changes)
        run = cell.run.folder.name if cell.run else ""
        state = click.style(cell.state, fg=STATE_COLOURS.get(cell.state))
        rows.append([str(i), *(changes.get(path, "") for path in paths), state, run])
    wanted = sum(cell.state in ("missing", "begun") for cell in cells)
    count = f"{len(cells)} training{'s' * (len(cells) != 1)}, {wanted} to do"
    return Table.of(["", *paths, "state", "run"], rows, right=(0,), notes=(count,))


def matrix_csv(cells: Sequence[SweepCell]) -> str:
    """The list as comma-separated values."""
    table = matrix_table(cells)
    rows = [[unstyled(cell) for cell in row] for row in table.rows]
    return comma_separated([column.label for column in table.columns], rows)


def matrix_document(cells: Sequence[SweepCell]) -> list[dict[str, Any]]:
    """The list as JSON values."""
    return [
        {
            "changes": dict(cell.changes),
            "seed": cell.seed,
            "fingerprint": cell.fingerprint,
            "state": cell.state,
            "run": str(cell.run.folder) if cell.run else None,
            "message": cell.message or None,
        }
        for cell in cells
    ]


def results_blocks(rows: Sequence[SweepRow], metrics: Sequence[str]) -> list[Block]:
    """Report metrics, a row for each setting.

    The parts of a metric's name form the lines of its header; parts that all names share are given once, above.
    """
    parts = [name.split("/") for name in metrics]
    shared = [part for part in parts[0] if all(part in other for other in parts)] if len(parts) > 1 else []
    short = ["\n".join(part for part in name if part not in shared) for name in parts]
    table = _results_table(rows, metrics, labels=short, code="{}")
    return [f"{'/'.join(shared)}, mean ± standard deviation", table] if shared else [table]


def results_markdown(rows: Sequence[SweepRow], metrics: Sequence[str]) -> str:
    """The same as a Markdown table."""
    return _results_table(rows, metrics, labels=metrics, code="`{}`").markdown()


def _results_table(rows: Sequence[SweepRow], metrics: Sequence[str], *, labels: Sequence[str], code: str) -> Table:
    paths = _paths([row.setting for row in rows])
    settings = [code.format(path) for path in paths] or ["setting"]
    body = [[*_setting(row, paths), _count(row), *(_spread(row.metrics.get(name)) for name in metrics)] for row in rows]
    return Table.of([*settings, "runs", *(Column(label, right=True) for label in labels)], body)


def results_csv(rows: Sequence[SweepRow], metrics: Sequence[str]) -> str:
    """Means and standard deviations as comma-separated values."""
    paths = _paths([row.setting for row in rows])
    columns = [f"{name} {what}" for name in metrics for what in ("mean", "sd")]
    body = []
    for row in rows:
        setting = dict(row.setting)
        averages = [row.metrics.get(name) for name in metrics]
        numbers = [value for a in averages for value in ((a.mean, a.sd) if a else (None, None))]
        body.append([*(setting.get(path) for path in paths), row.finished, *numbers])
    return comma_separated([*paths, "runs", *columns], body)


def results_document(rows: Sequence[SweepRow]) -> list[dict[str, Any]]:
    """All metrics as JSON values."""
    return [
        {
            "changes": dict(row.setting),
            "runs": [str(cell.run.folder) for cell in row.cells if cell.state == "finished" and cell.run],
            "trainings": len(row.cells),
            "metrics": {name: asdict(average) for name, average in row.metrics.items()},
        }
        for row in rows
    ]


def _paths(changes: Sequence[Sequence[tuple[str, str]]]) -> list[str]:
    """Every path that a training changes, the seed last."""
    paths = list(dict.fromkeys(path for each in changes for path, _ in each))
    return sorted(paths, key=lambda path: path == SEED)


def _setting(row: SweepRow, paths: Sequence[str]) -> list[str]:
    values = dict(row.setting)
    return [values.get(path, "") for path in paths] or [BASE]


def _count(row: SweepRow) -> str:
    return str(row.finished) if row.finished == len(row.cells) else f"{row.finished} of {len(row.cells)}"


def _spread(average: Average | None) -> str:
    if average is None:
        return ABSENT
    return number(average.mean) if average.sd is None else f"{number(average.mean)} ± {average.sd:.2g}"
