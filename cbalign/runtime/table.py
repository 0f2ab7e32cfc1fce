"""Text tables that can be written as aligned columns or as Markdown.

`cbalign.render.text` renders them for terminals with rich.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

GAP = "  "
INDENT = "  "
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def unstyled(text: str) -> str:
    """Remove ANSI styles, for files and for measuring widths."""
    return _STYLE.sub("", text)


@dataclass(frozen=True)
class Column:
    """A column: its header (which may have several lines), the unit of its values, and their alignment."""

    header: str = ""
    right: bool = False
    unit: str = ""

    @property
    def label(self) -> str:
        """Header and unit."""
        return f"{self.header} {self.unit}" if self.unit else self.header


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns, with an optional title above and notes below.

    Titles and cells may carry ANSI styles. A table with a title is indented below it; one without rows has no header.

    Attributes:
        columns: one for each cell of a row.
        rows: cells as text.
        title: a line above the table, or "".
        notes: sentences below the table.
        ruled: whether aligned text has a line below the header.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    ruled: bool = False

    @classmethod
    def of(
        cls,
        header: Sequence[str | Column],
        rows: Sequence[Sequence[str]],
        *,
        right: Collection[int] = (),
        title: str = "",
        notes: Sequence[str] = (),
        ruled: bool = False,
    ) -> Table:
        """Build a table from headers; `right` are the indices of right-aligned columns."""
        columns = (each if isinstance(each, Column) else Column(each, i in right) for i, each in enumerate(header))
        return cls(tuple(columns), tuple(map(tuple, rows)), title, tuple(notes), ruled)

    @classmethod
    def headless(
        cls, rows: Sequence[Sequence[str]], *, right: Collection[int] = (), title: str = "", notes: Sequence[str] = ()
    ) -> Table:
        """Build a table without a header."""
        count = len(rows[0]) if rows else 0
        return cls.of([""] * count, rows, right=right, title=title, notes=notes)

    @property
    def has_header(self) -> bool:
        """Whether any column has a header."""
        return any(column.label for column in self.columns)

    @property
    def indent(self) -> str:
        """Prefix of each line below the title."""
        return INDENT if self.title else ""

    def header_lines(self) -> list[tuple[str, ...]]:
        """Return the lines of the header, aligned at the bottom; empty if no column has a header."""
        if not self.has_header:
            return []
        labels = [column.label.split("\n") for column in self.columns]
        height = max(map(len, labels))
        return list(zip(*([""] * (height - len(label)) + label for label in labels)))

    def plain(self) -> str:
        """Return the table as aligned columns."""
        lines = [self.title] if self.title else []
        lines += [f"{self.indent}{line}" for line in self._aligned()]
        return "\n".join([*lines, *(f"{self.indent}{note}" for note in self.notes)])

    def markdown(self) -> str:
        """Return the table as GitHub Markdown, with title and notes as paragraphs."""
        parts = [f"**{unstyled(self.title)}**"] if self.title else []
        if self.rows:
            header = [column.label for column in self.columns]
            rules = ["---:" if column.right else "---" for column in self.columns]
            parts.append("\n".join(f"| {' | '.join(map(_cell, row))} |" for row in (header, rules, *self.rows)))
        return "\n\n".join([*parts, *map(unstyled, self.notes)])

    def _aligned(self) -> list[str]:
        if not self.rows:
            return []
        head = self.header_lines()
        cells = [*head, *self.rows]
        widths = [max(len(unstyled(cell)) for cell in column) for column in zip(*cells)]
        lines = [self._line(row, widths) for row in cells]
        if self.ruled and head:
            lines.insert(len(head), GAP.join("─" * width for width in widths))
        return lines

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        padded = []
        for cell, column, width in zip(row, self.columns, widths):
            space = " " * (width - len(unstyled(cell)))
            padded.append(space + cell if column.right else cell + space)
        return GAP.join(padded).rstrip()


Block: TypeAlias = str | Table
"""A part of a report: a paragraph or a table. Parts are separated by an empty line."""


def plain_text(blocks: Sequence[Block]) -> str:
    """Write blocks as text of any width, for pipes and files."""
    return "\n\n".join(block if isinstance(block, str) else block.plain() for block in blocks)


def markdown_text(blocks: Sequence[Block]) -> str:
    """Write blocks as Markdown."""
    return "\n\n".join(unstyled(block) if isinstance(block, str) else block.markdown() for block in blocks)


def _cell(text: str) -> str:
    return unstyled(text).replace("|", "\\|").replace("\n", " ")
