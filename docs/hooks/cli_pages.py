"""Generate the reference of commands from the Click commands, one page per group."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator

import click

from cbalign.cli import VERBS, main

FOLDER = "reference/commands"


def pages() -> dict[str, str]:
    """Return Markdown by path."""
    made: dict[str, list[str]] = {}
    root = click.Context(main, info_name="cbalign", **main.context_settings)
    for verb in VERBS:
        command = main.get_command(root, verb.name)
        if command is not None:
            path = f"{FOLDER}/{verb.group.lower()}.md"
            page = made.setdefault(path, [f"# {verb.group}", ""])
            page += _command(click.Context(command, info_name=verb.name, parent=root), level=2)
    return {path: "\n".join(lines) for path, lines in made.items()}


def _command(ctx: click.Context, level: int) -> Iterator[str]:
    """Yield usage, help and options of a command, then its subcommands."""
    command = ctx.command
    words = ctx.command_path.removeprefix("cbalign ")
    yield from (f"{'#' * level} {words} {{ #{words.replace(' ', '-')} }}", "")
    yield from ("```text", " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)]), "```", "")
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield from (_paragraph(paragraph), "")
    records = [each.get_help_record(ctx) for each in command.get_params(ctx) if isinstance(each, click.Option)]
    options = [record for record in records if record and "--help" not in record[0]]
    if options:
        yield '<dl class="options">'
        yield from (f"<dt><code>{html.escape(names)}</code></dt><dd>{_inline(text)}</dd>" for names, text in options)
        yield from ("</dl>", "")
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None, "it is listed"
            yield from _command(click.Context(inner, info_name=name, parent=ctx), level + 1)


def _paragraph(text: str) -> str:
    """Return a paragraph of a help text; `\\b` marks one whose line breaks are kept."""
    if text.startswith("\b\n"):
        return "\n".join(["```text", text.removeprefix("\b\n"), "```"])
    return _inline(" ".join(text.split()))


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
