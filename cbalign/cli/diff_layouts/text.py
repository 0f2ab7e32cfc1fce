"""For a terminal: effect classes as headings, one line a setting, then what follows from it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import click

from cbalign.cli.console import table
from cbalign.cli.diff_findings import Findings
from cbalign.cli.diff_layouts.words import Block, blocks, change, count, list_change, origins, shown
from cbalign.experiment.diff import Difference
from cbalign.experiment.verdicts import Verdict
from cbalign.parts.section import Effect

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


def as_text(findings: Findings, width: int | None = None) -> str:
    """Findings as lines.

    Args:
        findings: what to show.
        width: columns to wrap sentences to; `None`: lines of any length, for pipes.
    """
    others = list(blocks(findings))
    names, comparison = findings.names, findings.comparison
    if not comparison.differences and not comparison.same and not others:
        return f"{' = '.join(names)}: no differences"
    parts = [f"{(' → ' if findings.is_pair else ', ').join(names)}: {count(findings)}"]
    for effect, found in comparison.by_effect.items():
        heading = click.style(effect.value.upper(), fg=_COLOURS[effect], bold=True)
        parts.append(f"{heading}{click.style(f'  {effect.meaning}', dim=True)}\n{_settings(findings, found)}")
    if comparison.same:
        parts.append(f"{click.style('SAME', bold=True)}\n{_settings(findings, comparison.same)}")
    parts += [_block(block, width, findings.is_pair) for block in others]
    if findings.verdicts and (comparison.differences or findings.everything):
        parts.append(_verdicts(findings.verdicts, width, findings.everything))
    return "\n\n".join(parts)


def _settings(findings: Findings, found: Sequence[Difference]) -> str:
    if findings.is_pair:
        return _headless([_pair_row(each, findings) for each in found])
    return table(("  ", *findings.names), [(f"  {each.path}", *map(shown, each.cells)) for each in found])


def _pair_row(difference: Difference, findings: Findings) -> tuple[str, str, str, str]:
    before, after = difference.cells
    values = f"{shown(before)} → {shown(after)}"
    if before and after and before.value == after.value:
        values = shown(before)
    if before and after and isinstance(before.value, list) and isinstance(after.value, list):
        values = f"{values}  {list_change(before.value, after.value)}".rstrip()
    places = click.style(" → ".join(origins(difference, findings.operands)), dim=True)
    moved = "" if difference.delta == 0 else change(difference)
    return f"  {difference.path}", values, moved, places


def _headless(rows: Sequence[Sequence[str]]) -> str:
    return table(("",) * len(rows[0]), rows).lstrip("\n")


def _block(block: Block, width: int | None, pair: bool) -> str:
    lines = [click.style(block.title, bold=True)]
    rows = [(f"  {row[0]}", *row[1:]) for row in block.rows]
    if pair and rows:
        # Two columns of values read best as one: before → after.
        lines.append(_headless([(row[0], _arrow(row[1], row[2]), *row[3:]) for row in rows]))
    elif rows:
        lines.append(table((f"  {block.header[0]}", *block.header[1:]), rows))
    for note in block.notes:
        lines += textwrap.wrap(note, width, initial_indent="  ", subsequent_indent="  ") if width else [f"  {note}"]
    return "\n".join(lines)


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
    """One verdict, its reason wrapped below itself where there is a width to wrap to."""
    mark, colour = _MARKS[verdict.answer]
    head = f"  {mark} {verdict.question}".ljust(column)
    reason = f"{verdict.answer}: {verdict.reason}"
    wrapped = textwrap.wrap(reason, max(30, width - column), break_on_hyphens=False) if width else [reason]
    text = f"\n{' ' * column}".join(wrapped)
    return head.replace(mark, click.style(mark, fg=colour), 1) + text
