"""Where words go: results to stdout, everything else to stderr; colour only where someone looks at it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from cbalign.data.progress import Report

DOCUMENT_VERSION = 1


def prepare_streams() -> None:
    """A character that the terminal's encoding lacks becomes `?` instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def has_colour(stream: TextIO) -> bool:
    """NO_COLOR and FORCE_COLOR decide; else a terminal that is not dumb has colour."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width() -> int | None:
    """Columns of the terminal that results go to; `None` when they go elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def is_interactive() -> bool:
    """Whether someone watches stderr: a terminal, and no CI."""
    return sys.stderr.isatty() and not os.environ.get("CI")


def result(text: str) -> None:
    """Print a result on stdout. Styles of `click.style` are dropped where there is no colour."""
    click.echo(text, color=has_colour(sys.stdout))


def document(data: dict[str, Any]) -> None:
    """Print the one JSON document of `--json` on stdout, with its `schema_version`."""
    click.echo(json.dumps({"schema_version": DOCUMENT_VERSION, **data}, ensure_ascii=False, indent=2))


def note(text: str) -> None:
    """Print a remark on stderr."""
    click.echo(text, err=True, color=has_colour(sys.stderr))


def warn(text: str) -> None:
    """Print a warning on stderr."""
    note(f"warning: {text}")


def error(message: str, remedy: str | None = None) -> None:
    """Print what went wrong, and what to do, on stderr."""
    note(f"{click.style('error:', fg='red', bold=True)} {message}")
    if remedy:
        note(remedy)


def traceback(exception: BaseException) -> None:
    """Print the traceback of `--debug` on stderr."""
    import traceback as standard

    note("".join(standard.format_exception(exception)).rstrip())


def stderr() -> Console:
    """A rich console on stderr, for progress."""
    from rich.console import Console

    return Console(stderr=True, no_color=not has_colour(sys.stderr))


@contextmanager
def progress() -> Iterator[Report]:
    """A bar for each stage of some work, on a terminal; silence elsewhere."""
    if not is_interactive():
        yield lambda stage, done, total: None
        return
    from rich.progress import Progress

    with Progress(console=stderr(), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """A plain table, as wide as its text: pipes and narrow terminals lose nothing.

    Args:
        header: one name per column.
        rows: cells, already styled if they are to be.
        right: columns that are aligned right.
    """
    cells = [list(header), *map(list, rows)]
    widths = [max(len(click.unstyle(row[i])) for row in cells) for i in range(len(header))]
    lines = []
    for row in cells:
        padded = []
        for i, cell in enumerate(row):
            space = " " * (widths[i] - len(click.unstyle(cell)))
            padded.append(space + cell if i in right else cell + space)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
