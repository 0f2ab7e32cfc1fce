"""Reports of `cbalign diff` as text, Markdown and patch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from cbalign.experiment.diff import Difference, patch_document
from cbalign.experiment.dump import write_yaml
from cbalign.experiment.operands import Operand
from cbalign.experiment.verdicts import Verdict
from cbalign.lab.comparison.findings import Findings
from cbalign.parts.section import Effect
from cbalign.render.diff_blocks import change, count, list_change, origins, other_tables
from cbalign.render.quantities import shown
from cbalign.runtime.table import Block, Column, Table, unstyled

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


def diff_blocks(findings: Findings, width: int | None = None) -> list[Block]:
    """Report findings: settings by effect class, then what follows from them, then verdicts.

    Args:
        findings: what to report.
        width: columns of the terminal, to which verdicts are wrapped; `None`: lines of any length, for pipes.
    """
    others = list(other_tables(findings))
    names, comparison = findings.names, findings.comparison
    if not comparison.differences and not comparison.same and not others:
        return [f"{' = '.join(names)}: no differences"]
    blocks: list[Block] = [f"{(' → ' if findings.is_pair else ', ').join(names)}: {count(findings)}"]
    for effect, found in comparison.by_effect.items():
        heading = click.style(effect.value.upper(), fg=_COLOURS[effect], bold=True)
        blocks.append(_settings(findings, found, f"{heading}{click.style(f'  {effect.meaning}', dim=True)}"))
    if comparison.same:
        blocks.append(_settings(findings, comparison.same, click.style("SAME", bold=True)))
    blocks += [_other(table, findings.is_pair) for table in others]
    if findings.verdicts and (comparison.differences or findings.everything):
        blocks.append(_verdicts(findings.verdicts, width, findings.everything))
    return blocks


def _settings(findings: Findings, found: Sequence[Difference], title: str) -> Table:
    if findings.is_pair:
        return Table.headless([_pair_row(each, findings) for each in found], title=title)
    return Table.of(("", *findings.names), [(each.path, *map(shown, each.cells)) for each in found], title=title)


def _pair_row(difference: Difference, findings: Findings) -> tuple[str, str, str, str]:
    before, after = difference.cells
    values = f"{shown(before)} → {shown(after)}"
    if before and after and before.value == after.value:
        values = shown(before)
    if before and after and isinstance(before.value, list) and isinstance(after.value, list):
        values = f"{values}  {list_change(before.value, after.value)}".rstrip()
    places = click.style(" → ".join(origins(difference, findings.operands)), dim=True)
    return difference.path, values, _change(difference), places


def _change(difference: Difference) -> str:
    return "" if difference.delta == 0 else change(difference)


def _other(table: Table, pair: bool) -> Table:
    """The table for people; of two experiments, the two columns of values become one: before → after."""
    table = replace(table, title=click.style(table.title, bold=True))
    if not pair or not table.rows:
        return table
    rows = [(row[0], _arrow(row[1], row[2]), *row[3:]) for row in table.rows]
    return Table.headless(rows, title=table.title, notes=table.notes)


def _arrow(before: str, after: str) -> str:
    if not before or before == after:
        return after
    return f"{before} → {after}"


def _verdicts(verdicts: Sequence[Verdict], width: int | None, everything: bool) -> str:
    column = max(len(verdict.question) for verdict in verdicts) + len("  ✓   ")
    lines = [click.style("VERDICTS", bold=True)]
    for verdict in verdicts:
        lines.append(_verdict(verdict, column, width))
        lines += [f"{' ' * column}{detail}" for detail in verdict.details if everything]
    return "\n".join(lines)


def _verdict(verdict: Verdict, column: int, width: int | None) -> str:
    """One verdict; its reason is wrapped to the width, below itself."""
    mark, colour = _MARKS[verdict.answer]
    head = f"  {mark} {verdict.question}".ljust(column)
    reason = f"{verdict.answer}: {verdict.reason}"
    wrapped = textwrap.wrap(reason, max(30, width - column), break_on_hyphens=False) if width else [reason]
    text = f"\n{' ' * column}".join(wrapped)
    return head.replace(mark, click.style(mark, fg=colour), 1) + text


def diff_markdown(findings: Findings) -> str:
    """Report findings for a pull request: a table of settings, the other tables, and the verdicts as a list."""
    names, comparison = findings.names, findings.comparison
    others = list(other_tables(findings))
    if not comparison.differences and not comparison.same and not others:
        return f"**{' = '.join(map(_code_free, names))}**: no differences"
    parts = [f"**{count(findings)}**"]
    rows = [_markdown_row(each, each.effect.value) for each in comparison.differences]
    rows += [_markdown_row(each, "same") for each in comparison.same]
    if rows:
        parts.append(Table.of(["effect", "setting", *map(_code_free, names), "change"], rows).markdown())
    for table in others:
        parts += _markdown_table(table)
    if findings.verdicts and (comparison.differences or findings.everything):
        lines = [f"- {v.question}: **{v.answer}**, {_code_free(v.reason)}" for v in findings.verdicts]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _markdown_row(difference: Difference, effect: str) -> list[str]:
    values = [f"`{_code_free(shown(cell))}`" for cell in difference.cells]
    return [effect, f"`{_code_free(difference.path)}`", *values, _change(difference)]


def _markdown_table(table: Table) -> Iterator[str]:
    """A table whose title is the header of its first column, and its notes."""
    if table.rows:
        first = Column(table.title.partition("  ")[0].lower())
        rows = tuple(tuple(_code_free(unstyled(cell)) for cell in row) for row in table.rows)
        yield Table((first, *table.columns[1:]), rows).markdown()
    yield from map(_code_free, table.notes)


def _code_free(text: str) -> str:
    return text.replace("`", "'").replace("\n", " ")


def diff_patch(before: Operand, after: Operand) -> str:
    """Write a spec that extends A and equals B; if A is not a file on disk, an overlay to apply to it."""
    extends = _reference(before) if before.kind == "spec" and before.name != "-" else None
    document = patch_document(before.experiment, after.experiment, extends)
    use = f"{before.name} + this = {after.name}; apply it to another spec: cbalign show SPEC --patch FILE"
    return f"# {use}\n" + (write_yaml(document).rstrip("\n") if document else "{}")


def _reference(operand: Operand) -> str:
    """How a spec in the working directory refers to A."""
    path = operand.loaded.path.absolute()
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else operand.name
