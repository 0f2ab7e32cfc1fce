"""`cbalign migrate`: convert a configuration of another tool or an older version to a spec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import completions, console
from cbalign.cli.options import json_option

if TYPE_CHECKING:
    from cbalign.interop.read import Migrated, Tool


@click.command()
@click.argument("file", type=click.Path(path_type=Path), shell_complete=completions.files)
@click.option(
    "--from",
    "tool",
    type=click.Choice(["albef", "lavis", "open_clip", "cbalign"]),
    help="Tool of the configuration; detected by default.",
)
@click.option(
    "--output", "-o", metavar="SPEC", type=click.Path(path_type=Path), help="File to write.  [default: stdout]"
)
@click.option("--name", help="Name of the experiment.")
@click.option("--force", is_flag=True, help="Replace SPEC if it exists.")
@json_option
def migrate(file: Path, tool: Tool | None, output: Path | None, name: str | None, force: bool, as_json: bool) -> None:
    """Convert FILE to a valid spec and report what happened to each setting.

    FILE is a YAML configuration of ALBEF or LAVIS, open_clip's params.txt, flags or JSON model configuration, or a spec
    of an older format, whose comments are kept. The spec is printed on stdout, the report on stderr.
    """
    from cbalign.errors import UsageError
    from cbalign.interop.read import migrate_file

    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} already exists.", remedy="Choose another file, or replace it with --force.")
    migrated = migrate_file(file, tool, name)
    if output is not None:
        output.write_text(migrated.text, encoding="utf-8")
    if as_json:
        console.document(_data(migrated, output))
        return
    _report(migrated)
    if output is None:
        console.result(migrated.text.rstrip("\n"))
    else:
        console.note(f"next: cbalign validate {output}")
        console.result(str(output))


def _report(migrated: Migrated) -> None:
    groups = (
        ("converted", migrated.carried),
        ("set to match the tool's code", migrated.assumed),
        ("not converted", migrated.dropped),
        ("moved", migrated.moved),
    )
    for title, lines in groups:
        if lines:
            console.note(click.style(f"{title}:", bold=True))
            console.note("".join(f"  {line}\n" for line in lines))
    if migrated.tool == "cbalign" and not migrated.moved:
        console.note("this spec already has the newest format")


def _data(migrated: Migrated, output: Path | None) -> dict[str, object]:
    return {
        "tool": migrated.tool,
        "output": str(output) if output else None,
        "spec": migrated.text,
        "carried": [line.to_json() for line in migrated.carried],
        "assumed": [line.to_json() for line in migrated.assumed],
        "not_carried": [line.to_json() for line in migrated.dropped],
        "moved": list(migrated.moved),
    }
