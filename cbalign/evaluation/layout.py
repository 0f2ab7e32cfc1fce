"""Reports as blocks of text and tables: the same blocks are written for a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Table:
    """Rows of cells, the header first. The first `left` columns hold words, the others numbers; `notes` stand below."""

    rows: tuple[tuple[str, ...], ...]
    left: int
    notes: tuple[str, ...] = ()


Block: TypeAlias = str | Table
"""A paragraph, which may have several lines, or a table."""


def plain_text(blocks: Sequence[Block]) -> str:
    """Write blocks for a terminal or a log, with aligned columns."""
    return "\n\n".join(block if isinstance(block, str) else _aligned(block) for block in blocks)


def markdown_text(blocks: Sequence[Block]) -> str:
    """Write blocks as Markdown."""
    return "\n\n".join(block.replace("\n", "\n\n") if isinstance(block, str) else _markdown(block) for block in blocks)


def _aligned(table: Table) -> str:
    widths = [max(map(len, column)) for column in zip(*table.rows)]
    lines = []
    for row in table.rows:
        aligned = [c.ljust(w) if i < table.left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:], *table.notes])


def _markdown(table: Table) -> str:
    rules = tuple("---" if i < table.left else "---:" for i in range(len(table.rows[0])))
    lines = "\n".join(f"| {' | '.join(row)} |" for row in (table.rows[0], rules, *table.rows[1:]))
    return "\n\n".join([lines, *table.notes])
