"""Output streams: results go to stdout, messages to stderr; colour only on a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from cbalign.data.progress import ProgressCallback
    from cbalign.runtime.table import Block

DOCUMENT_VERSION = 1
COMPLETING = "_CBALIGN_COMPLETE"  # environment variable by which a shell asks for completions


def prepare_streams() -> None:
    """Write `?` for characters that the terminal's encoding lacks, instead of failing; replace closed streams."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the parent, such as by `>&-` of a shell
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (for the whole process)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def has_colour(stream: TextIO) -> bool:
    """Whether to write colour: NO_COLOR and FORCE_COLOR decide, then whether the stream is a capable terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width(stream: TextIO | None = None) -> int | None:
    """Columns of the terminal that a stream (stdout by default) is connected to; `None` for pipes and files."""
    return shutil.get_terminal_size().columns if (stream or sys.stdout).isatty() else None


def is_interactive() -> bool:
    """Whether a person watches stderr: it is a terminal, and this is not CI."""
    return sys.stderr.isatty() and not os.environ.get("CI")


def result(text: str) -> None:
    """Print a result on stdout, without the styles of `click.style` where there is no colour."""
    click.echo(text, color=has_colour(sys.stdout))


def blocks(*parts: Block) -> None:
    """Print paragraphs and tables on stdout, fitted to the terminal's width; plain text in a pipe."""
    from cbalign.render.text import as_text

    result(as_text(parts, width()))


def document(data: dict[str, Any]) -> None:
    """Print the JSON document of `--json` on stdout, with its `schema_version`."""
    from cbalign.runtime.document import json_document

    click.echo(json_document({"schema_version": DOCUMENT_VERSION, **data}), nl=False)


def note(text: str) -> None:
    """Print a message on stderr."""
    click.echo(text, err=True, color=has_colour(sys.stderr))


def warn(text: str) -> None:
    """Print a warning on stderr."""
    note(f"warning: {text}")


def note_blocks(*parts: Block) -> None:
    """Print paragraphs and tables on stderr."""
    from cbalign.render.text import as_text

    note(as_text(parts, width(sys.stderr)))


def warning(message: str) -> None:
    """Print a warning on stderr."""
    note(f"{click.style('warning:', fg='yellow', bold=True)} {message}")


def error(message: str, remedy: str | None = None) -> None:
    """Print an error and its remedy on stderr."""
    note(f"{click.style('error:', fg='red', bold=True)} {message}")
    if remedy:
        note(remedy)


def traceback(exception: BaseException) -> None:
    """Print a traceback on stderr, for `--debug`."""
    import traceback as standard

    note("".join(standard.format_exception(exception)).rstrip())


def stderr() -> Console:
    """Create a rich console on stderr, for progress bars."""
    from rich.console import Console

    return Console(stderr=True, no_color=not has_colour(sys.stderr))


@contextmanager
def progress() -> Iterator[ProgressCallback]:
    """Show a progress bar for each stage of some work on a terminal, and nothing elsewhere."""
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
