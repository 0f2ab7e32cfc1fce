"""`cbalign migrate`: another tool's or an older configuration as a spec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import console, offers
from cbalign.cli.options import json_option

if TYPE_CHECKING:
    from cbalign.interop.read import Migrated, Tool


@click.command()
@click.argument("file", type=click.Path(path_type=Path), shell_complete=offers.files)
@click.option(
    "--from",
    "tool",
    type=click.Choice(["albef", "lavis", "open_clip", "cbalign"]),
    help="Whose configuration it is; found out where it is not said.",
)
@click.option("--output", "-o", metavar="SPEC", type=click.Path(path_type=Path), help="Write here, not to stdout.")
@click.option("--name", help="Name of the experiment.")
@click.option("--force", is_flag=True, help="Replace SPEC if it exists.")
@json_option
def migrate(file: Path, tool: Tool | None, output: Path | None, name: str | None, force: bool, as_json: bool) -> None:
    """Turn FILE into a valid spec, and say what became of each setting.

    FILE is a YAML configuration of ALBEF or LAVIS, open_clip's params.txt, flags or JSON model configuration, or a spec
    of an older format, whose comments stay. The spec goes to stdout, the account to stderr.
    """
    from cbalign.errors import UsageError
    from cbalign.interop.read import migrate_file

    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} exists.", remedy="Name another file, or replace it with --force.")
    migrated = migrate_file(file, tool, name)
    if output is not None:
        output.write_text(migrated.text, encoding="utf-8")
    if as_json:
        console.document(_data(migrated, output))
        return
    _account(migrated)
    if output is None:
        console.result(migrated.text.rstrip("\n"))
    else:
        console.note(f"next: cbalign validate {output}")
        console.result(str(output))


def _account(migrated: Migrated) -> None:
    groups = (
        ("carried over", migrated.carried),
        ("set because the tool's code does so", migrated.assumed),
        ("not carried over", migrated.dropped),
        ("moved", migrated.moved),
    )
    for title, lines in groups:
        if lines:
            console.note(click.style(f"{title}:", bold=True))
            console.note("".join(f"  {line}\n" for line in lines))
    if migrated.tool == "cbalign" and not migrated.moved:
        console.note("this spec has the newest format already")


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
