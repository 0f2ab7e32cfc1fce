"""How a sweep is printed: the list of its trainings, and the table of what they found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from cbalign.cli.console import table
from cbalign.cli.quantities import number
from cbalign.cli.tables import comma_separated, markdown
from cbalign.lab.sweep.matrix import Cell
from cbalign.lab.sweep.results import Average, Row
from cbalign.lab.sweep.space import SEED

_COLOURS = {"finished": "green", "running": "cyan", "diverged": "red", "failed": "red"}
BASE = "as the spec is"


def matrix_rows(cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """Header and one line a training."""
    paths = _paths([cell.changes for cell in cells])
    rows = []
    for i, cell in enumerate(cells, 1):
        changes = dict(cell.changes)
        run = cell.run.folder.name if cell.run else ""
        rows.append([str(i), *(changes.get(path, "") for path in paths), cell.state, run])
    return ["", *paths, "state", "run"], rows


def matrix_text(cells: Sequence[Cell]) -> str:
    """The list of trainings, and how many there are."""
    header, rows = matrix_rows(cells)
    for row in rows:
        row[-2] = click.style(row[-2], fg=_COLOURS.get(row[-2]))
    wanted = sum(cell.state in ("missing", "begun") for cell in cells)
    return f"{table(header, rows, right=(0,))}\n{len(cells)} training{'s' * (len(cells) != 1)}, {wanted} to do"


def matrix_data(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The list for machines."""
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


def results_text(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """A line a setting; the parts of a metric's name stand one below the other, those of all above the table."""
    paths = _paths([row.setting for row in rows])
    parts = [name.split("/") for name in metrics]
    shared = [part for part in parts[0] if all(part in other for other in parts)] if len(parts) > 1 else []
    short = [[part for part in name if part not in shared] for name in parts]
    height = max([1, *map(len, short)])
    stacked = [[""] * (height - len(name)) + name for name in short]
    labels = [*(paths or ["setting"]), "runs"]
    header = [[""] * len(labels) + [name[i] for name in stacked] for i in range(height)]
    header[-1][: len(labels)] = labels
    body = [[*_setting(row, paths), _count(row), *(_spread(row.metrics.get(name)) for name in metrics)] for row in rows]
    text = table(header[0], [*header[1:], *body], right=range(len(labels), len(labels) + len(metrics)))
    return f"{'/'.join(shared)}, mean ± standard deviation\n{text}" if shared else text


def results_markdown(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """The same as a Markdown table."""
    paths = _paths([row.setting for row in rows])
    header = [*(f"`{path}`" for path in paths), *([] if paths else ["setting"]), "runs", *metrics]
    body = [[*_setting(row, paths), _count(row), *(_spread(row.metrics.get(name)) for name in metrics)] for row in rows]
    return markdown(header, body, right=range(len(header) - len(metrics), len(header)))


def results_csv(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Means and deviations as columns."""
    paths = _paths([row.setting for row in rows])
    columns = [f"{name} {what}" for name in metrics for what in ("mean", "sd")]
    body = []
    for row in rows:
        setting = dict(row.setting)
        averages = [row.metrics.get(name) for name in metrics]
        numbers = [value for a in averages for value in ((a.mean, a.sd) if a else (None, None))]
        body.append([*(setting.get(path) for path in paths), row.finished, *numbers])
    return comma_separated([*paths, "runs", *columns], body)


def results_data(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The table for machines, with all metrics."""
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
    """Every path that is changed anywhere, the seed last."""
    paths = list(dict.fromkeys(path for each in changes for path, _ in each))
    return sorted(paths, key=lambda path: path == SEED)


def _setting(row: Row, paths: Sequence[str]) -> list[str]:
    values = dict(row.setting)
    return [values.get(path, "") for path in paths] or [BASE]


def _count(row: Row) -> str:
    return str(row.finished) if row.finished == len(row.cells) else f"{row.finished} of {len(row.cells)}"


def _spread(average: Average | None) -> str:
    if average is None:
        return "–"
    return number(average.mean) if average.sd is None else f"{number(average.mean)} ± {average.sd:.2g}"
