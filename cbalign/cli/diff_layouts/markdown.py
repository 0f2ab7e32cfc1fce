"""For a pull request: one table of settings, a small one for each of the rest, and the verdicts as a list."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cbalign.cli.diff_findings import Findings
from cbalign.cli.diff_layouts.words import blocks, change, count, shown
from cbalign.experiment.diff import Difference


def as_markdown(findings: Findings) -> str:
    """Findings as GitHub's Markdown."""
    names = [_text(name) for name in findings.names]
    comparison = findings.comparison
    others = list(blocks(findings))
    if not comparison.differences and not comparison.same and not others:
        return f"**{' = '.join(names)}**: no differences"
    parts = [f"**{count(findings)}**"]
    rows = [_setting(each, each.effect.value) for each in comparison.differences]
    rows += [_setting(each, "same") for each in comparison.same]
    if rows:
        parts.append(_table(["effect", "setting", *names, "change"], rows))
    for block in others:
        if block.rows:
            title = [_text(f"{block.title.partition('  ')[0].lower()}"), *map(_text, block.header[1:])]
            parts.append(_table(title, [[_text(click.unstyle(cell)) for cell in row] for row in block.rows]))
        parts += [_text(note) for note in block.notes]
    if findings.verdicts and (comparison.differences or findings.everything):
        lines = [f"- {v.question}: **{v.answer}**, {_text(v.reason)}" for v in findings.verdicts]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _setting(difference: Difference, effect: str) -> list[str]:
    values = [f"`{_text(shown(cell))}`" for cell in difference.cells]
    return [effect, f"`{_text(difference.path)}`", *values, "" if difference.delta == 0 else change(difference)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def _text(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'").replace("\n", " ")
