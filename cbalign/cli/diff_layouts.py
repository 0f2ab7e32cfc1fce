"""How a comparison is printed: text, Markdown, JSON, patch."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from cbalign.cli.console import table
from cbalign.spec.derived import Quantity, derived_quantities
from cbalign.spec.diff import Cell, Comparison, Difference, patch_document
from cbalign.spec.document import Data
from cbalign.spec.dump import fingerprint, write_yaml
from cbalign.spec.operands import Operand
from cbalign.spec.section import Effect
from cbalign.spec.verdicts import Verdict, verdicts

ABSENT = "–"
WIDEST = 48
_COLOURS = {
    Effect.ARCHITECTURE: "red",
    Effect.INITIALISATION: "red",
    Effect.DATA: "yellow",
    Effect.TRAINING: "yellow",
    Effect.EVALUATION: "magenta",
    Effect.EXPORT: "cyan",
    Effect.RUNTIME: "green",
    Effect.LABEL: "green",
}
_MARKS = {"yes": ("✓", "green"), "partly": ("~", "yellow"), "no": ("✗", "red")}


def as_text(operands: Sequence[Operand], comparison: Comparison, width: int | None = None) -> str:
    """For a terminal: classes as headings, one line a setting, then derived quantities and verdicts.

    Args:
        operands: the experiments by name.
        comparison: of their experiments.
        width: columns to wrap reasons to; `None`: lines of any length, for pipes.
    """
    names = [operand.name for operand in operands]
    if not comparison.differences:
        return f"{' = '.join(names)}: no differences"
    pair = len(operands) == 2
    blocks = [f"{(' → ' if pair else ', ').join(names)}: {_count(comparison)}"]
    for effect, found in comparison.by_effect.items():
        heading = click.style(effect.value.upper(), fg=_COLOURS[effect], bold=True)
        heading += click.style(f"  {effect.meaning}", dim=True)
        rows = [_pair_row(each) if pair else _wide_row(each) for each in found]
        header = ("",) * len(rows[0]) if pair else ("  ", *names)
        body = table(header, rows).lstrip("\n") if pair else table(header, rows)
        blocks.append(f"{heading}\n{body}")
    quantities = [
        (f"  {rows[0].name}", (" → " if pair else "  ").join(_number(row.value) for row in rows))
        for rows in _derived(comparison)
    ]
    if quantities:
        blocks.append(click.style("DERIVED", bold=True) + "\n" + table(("", ""), quantities).lstrip("\n"))
    if pair:
        told = verdicts(comparison)
        column = max(len(verdict.question) for verdict in told) + len("  ✓   ")
        lines = [_verdict_lines(verdict, column, width) for verdict in told]
        blocks.append("\n".join([click.style("VERDICTS", bold=True), *lines]))
    return "\n\n".join(blocks)


def _verdict_lines(verdict: Verdict, column: int, width: int | None) -> str:
    """One verdict, its reason wrapped below itself where there is a width to wrap to."""
    mark, colour = _MARKS[verdict.answer]
    head = f"  {mark} {verdict.question}".ljust(column)
    reason = f"{verdict.answer}: {verdict.reason}"
    wrapped = textwrap.wrap(reason, max(30, width - column), break_on_hyphens=False) if width else [reason]
    text = f"\n{' ' * column}".join(wrapped)
    return head.replace(mark, click.style(mark, fg=colour), 1) + text


def _count(comparison: Comparison) -> str:
    count = len(comparison.differences)
    return f"{count} difference{'s' * (count != 1)}"


def _pair_row(difference: Difference) -> tuple[str, str, str, str]:
    before, after = difference.cells
    if before and after and isinstance(before.value, list) and isinstance(after.value, list):
        values = _list_change(before.value, after.value)
    else:
        values = f"{_shown(before)} → {_shown(after)}"
    origins = click.style(f"{_origin(before)} → {_origin(after)}", dim=True)
    return f"  {difference.path}", values, _change(difference), origins


def _wide_row(difference: Difference) -> tuple[str, ...]:
    return (f"  {difference.path}", *(_shown(cell) for cell in difference.cells))


def _list_change(before: list[Data], after: list[Data]) -> str:
    """Lists by their items: what went, what came; both whole where only the order differs."""
    gone, new = [i for i in before if i not in after], [i for i in after if i not in before]
    if not gone and not new:
        return f"{_value(before)} → {_value(after)}"
    parts = [click.style(f"-{_value(item)}", fg="red") for item in gone]
    parts += [click.style(f"+{_value(item)}", fg="green") for item in new]
    return f"{_value(before)} → {_value(after)}  ({' '.join(parts)})"


def _shown(cell: Cell | None) -> str:
    return ABSENT if cell is None else _value(cell.value)


def _value(value: Data) -> str:
    """A value as a spec would write it; sections and long texts shortened."""
    if isinstance(value, str):
        text = value or "''"
    elif isinstance(value, float):
        text = _number(value)
    elif isinstance(value, list):
        text = f"[{', '.join(_value(item) for item in value)}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{name}: {_value(item)}' for name, item in value.items())}}}"
    else:
        text = json.dumps(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _number(value: float | None) -> str:
    if value is None:
        return ABSENT
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _change(difference: Difference) -> str:
    """`+64, ×2` for numbers."""
    if difference.delta is None:
        return ""
    delta = f"{'+' * (difference.delta > 0)}{_number(round(difference.delta, 12))}"
    return f"{delta}, ×{difference.ratio:.4g}" if difference.ratio else delta


def _origin(cell: Cell | None) -> str:
    return ABSENT if cell is None else str(cell.origin)


def _derived(comparison: Comparison) -> Iterator[tuple[Quantity, ...]]:
    """The quantities that are not the same in all experiments."""
    for rows in zip(*(derived_quantities(experiment) for experiment in comparison.experiments)):
        if any(row.value != rows[0].value for row in rows):
            yield rows


def as_markdown(operands: Sequence[Operand], comparison: Comparison) -> str:
    """For a pull request: one table, and the verdicts as a list."""
    names = [_cell_text(operand.name) for operand in operands]
    if not comparison.differences:
        return f"**{' = '.join(names)}**: no differences"
    header = ["effect", "setting", *names, "change"]
    lines = [f"**{_count(comparison)}**", "", _markdown_row(header), _markdown_row(["---"] * len(header))]
    for difference in comparison.differences:
        values = [f"`{_cell_text(_shown(cell))}`" for cell in difference.cells]
        row = [difference.effect.value, f"`{_cell_text(difference.path)}`", *values, _change(difference)]
        lines.append(_markdown_row(row))
    for rows in _derived(comparison):
        lines.append(_markdown_row(["derived", rows[0].name, *(_number(row.value) for row in rows), ""]))
    if len(operands) == 2:
        lines += ["", *(f"- {v.question}: **{v.answer}**, {v.reason}" for v in verdicts(comparison))]
    return "\n".join(lines)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell_text(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'").replace("\n", " ")


def as_data(operands: Sequence[Operand], comparison: Comparison) -> dict[str, Any]:
    """For machines: everything, unshortened."""
    return {
        "operands": [
            {"name": o.name, "kind": o.kind, "path": str(o.loaded.path), "fingerprint": fingerprint(o.experiment)}
            for o in operands
        ],
        "same": not comparison.differences,
        "worst": comparison.worst,
        "differences": [
            {
                "path": difference.path,
                "effect": difference.effect,
                "values": [cell.value if cell else None for cell in difference.cells],
                "present": [cell is not None for cell in difference.cells],
                "origins": [str(cell.origin) if cell else None for cell in difference.cells],
                "delta": difference.delta,
                "ratio": difference.ratio,
                "help": difference.help,
            }
            for difference in comparison.differences
        ],
        "derived": [
            {"name": rows[0].name, "formula": rows[0].formula, "values": [row.value for row in rows]}
            for rows in _derived(comparison)
        ],
        "verdicts": [{"question": v.question, "answer": v.answer, "reason": v.reason} for v in verdicts(comparison)]
        if len(operands) == 2
        else [],
    }


def as_patch(before: Operand, after: Operand) -> str:
    """A spec that extends A and is B; where A is no file of the disk, an overlay to apply to it."""
    extends = _reference(before) if before.kind == "spec" and before.name != "-" else None
    document = patch_document(before.experiment, after.experiment, extends)
    use = f"{before.name} + this = {after.name}; apply it to another spec: cbalign show SPEC --patch FILE"
    return f"# {use}\n" + (write_yaml(document).rstrip("\n") if document else "{}")


def _reference(operand: Operand) -> str:
    """How a spec in the working directory names A."""
    path = operand.loaded.path.absolute()
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else operand.name
