"""Tables for pull requests and spreadsheets, and the options that ask for them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
TEXT, JSON, MARKDOWN, CSV = "text", "json", "markdown", "csv"


def layout_options(command: F) -> F:
    """`--json`, `--markdown` and `--csv`, as the argument `layout`; without any of them it is `text`."""
    options = (
        click.option("--csv", "layout", flag_value=CSV, help="Print comma-separated values."),
        click.option("--markdown", "layout", flag_value=MARKDOWN, help="Print a Markdown table."),
        click.option("--json", "layout", flag_value=JSON, help="Print one JSON document and nothing else."),
        click.option("--text", "layout", flag_value=TEXT, default=True, hidden=True),
    )
    for option in options:
        command = option(command)
    return command


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """A Markdown table; `right` are the columns that are aligned right."""
    rules = ["---:" if i in right else "---" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in (header, rules, *rows))


def _cell(text: str) -> str:
    return click.unstyle(text).replace("|", "\\|").replace("\n", " ")


def comma_separated(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Comma-separated values as spreadsheets read them; `None` is an empty cell."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue().removesuffix("\n")
