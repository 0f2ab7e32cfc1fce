"""Blocks as text: wrapped and styled to the width of a terminal, or plain text of any width in a pipe."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbalign.runtime.table import GAP, Block, Table, plain_text, unstyled

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod, RenderableType

_WORD = re.compile(r"^\s*\S+|\S+")


def as_text(blocks: Sequence[Block], width: int | None) -> str:
    """Render blocks; `width` is that of the terminal, `None` for a pipe or a file."""
    return plain_text(blocks) if width is None else "\n\n".join(_rendered(block, width) for block in blocks)


def comma_separated(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Comma-separated values as spreadsheets read them; `None` is an empty cell."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue().removesuffix("\n")


def _rendered(block: Block, width: int) -> str:
    """One block, by rich; styles are always written, as `console.result` removes them where there is no colour."""
    from rich.console import Console

    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system="standard", highlight=False)
    for part in _paragraph(block) if isinstance(block, str) else _table(block, console):
        console.print(part, crop=False)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _paragraph(text: str) -> Iterator[RenderableType]:
    """Lines wrapped at words; indented lines, such as commands to copy, stay whole."""
    from rich.console import Group
    from rich.text import Text

    for line in text.split("\n"):
        whole = line.startswith(" ")
        # Printing a bare text would lose `no_wrap`.
        yield Group(Text.from_ansi(line, no_wrap=whole, overflow="ignore" if whole else "fold"))


def _table(table: Table, console: Console) -> Iterator[RenderableType]:
    """Title, the table in as many parts as the width asks for, and notes."""
    from rich.padding import Padding
    from rich.text import Text

    left = len(table.indent)
    if table.title:
        yield Text.from_ansi(table.title)
    for number, (part, widths) in enumerate(fit_table(table, console.width - left)):
        if number:
            yield ""
        yield Padding(_grid(part, widths), (0, 0, 0, left), expand=False)
    for note in table.notes:
        yield Padding(Text.from_ansi(note), (0, 0, 0, left), expand=False)


def _grid(table: Table, widths: Sequence[int]) -> RenderableType:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), show_header=table.has_header)
    labels = ["\n".join(label) for label in zip(*table.header_lines())] or [""] * len(widths)
    for label, column, width in zip(labels, table.columns, widths, strict=True):
        justify: JustifyMethod = "right" if column.right else "left"
        grid.add_column(Text(label), justify=justify, width=width, overflow="fold", header_style="bold")
    for row in table.rows:
        grid.add_row(*map(Text.from_ansi, row))
    return grid


def fit_table(table: Table, width: int) -> Iterator[tuple[Table, list[int]]]:
    """Fit a table to a width: columns wrap at words, and those that still do not fit follow in further tables.

    Yields:
        tables of the same rows, each beginning with the first column, and the widths of their columns.
    """
    cells = [[unstyled(cell) for cell in column] for column in zip(*table.header_lines(), *table.rows)]
    columns = [_Extent.of(column) for column in cells] if table.rows else []
    begin = 1
    while begin < len(columns) or begin == 1 <= len(columns):
        end = len(columns)
        while end > begin + 1 and _widths([columns[0], *columns[begin:end]], width) is None:
            end -= 1
        chosen = [0, *range(begin, end)]
        widths = _widths([columns[i] for i in chosen], width) or [min(columns[i].widest, width) for i in chosen]
        rows = tuple(tuple(row[i] for i in chosen) for row in table.rows)
        yield Table(tuple(table.columns[i] for i in chosen), rows), widths
        begin = max(end, begin + 1)


@dataclass(frozen=True)
class _Extent:
    """Widths of a column's longest cell and of its longest word."""

    widest: int
    least: int

    @classmethod
    def of(cls, cells: Sequence[str]) -> _Extent:
        """Measure the cells of a column."""
        words = [len(word) for cell in cells for word in _WORD.findall(cell)]
        return cls(max(max(len(line) for line in cell.split("\n")) for cell in cells), max(words, default=0))


def _widths(columns: Sequence[_Extent], width: int) -> list[int] | None:
    """Widths of columns, reducing the widest first; `None` if words would have to be broken."""
    widths = [column.widest for column in columns]
    excess = sum(widths) + len(GAP) * (len(columns) - 1) - width
    while excess > 0:
        reducible = [i for i, column in enumerate(columns) if widths[i] > column.least]
        if not reducible:
            return None
        widths[max(reducible, key=lambda i: widths[i])] -= 1
        excess -= 1
    return widths
