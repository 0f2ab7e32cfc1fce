"""`cbalign init`: write a spec for a folder of data."""

from __future__ import annotations

import re
from pathlib import Path

import click

from cbalign.cli import console
from cbalign.cli.options import json_option

SCHEMA_FILE = ".cbalign/experiment.json"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", metavar="FILE", type=click.Path(path_type=Path), help="Spec to write.  [default: NAME.yaml]"
)
@click.option("--name", help="Name of the experiment.  [default: name of FOLDER]")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@json_option
def init(folder: Path, output: Path | None, name: str | None, force: bool, as_json: bool) -> None:
    """Detect the data in FOLDER and write a valid spec for them, with comments on what was found.

    Supported formats are CSV and TSV files, ALBEF's JSON lists, Karpathy's splits and webdataset shards. The JSON
    Schema for editors is written next to the spec.
    """
    from cbalign.data.discover import discover
    from cbalign.data.proposal import propose
    from cbalign.errors import DataError, UsageError

    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", remedy="Use the folder of the data.")
    name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._") or "experiment"
    target = output or Path(f"{name}.yaml")
    if target.exists() and not force:
        raise UsageError(
            f"{target} already exists.", remedy="Choose another file with --output, or replace it with --force."
        )
    discovery = discover(folder)
    if not discovery.found:
        reasons = "".join(f"\n  {reason}" for reason in discovery.skipped)
        raise DataError(
            f"{folder}: no data that a source can read{':' if reasons else '.'}{reasons}",
            remedy="Supported are CSV files, ALBEF's JSON lists, Karpathy's splits and webdataset shards.",
        )
    proposal = propose(discovery.found, name, target.absolute().parent, SCHEMA_FILE)
    for reason in discovery.skipped:
        console.note(f"skipped: {reason}")
    for left in proposal.unused:
        console.note(f"not used, smaller: {left.description}")
    _write(target, proposal.text)
    if as_json:
        used = [
            {"split": each.split, "description": each.description, "entries": each.entries} for each in proposal.used
        ]
        console.document({"spec": str(target), "found": used, "skipped": list(discovery.skipped)})
        return
    for each in proposal.used:
        console.note(f"found: {each.description}")
    console.note(f"next: cbalign plan {target}")
    console.result(str(target))


def _write(target: Path, text: str) -> None:
    """Write schema and spec; the spec gets its name only after it was validated."""
    from cbalign.experiment.load import load_experiment
    from cbalign.experiment.schema import json_schema
    from cbalign.runtime.document import json_document

    schema = target.parent / SCHEMA_FILE
    schema.parent.mkdir(exist_ok=True)
    schema.write_text(json_document(json_schema()), encoding="utf-8")
    draft = target.with_name(f".{target.name}.draft")
    draft.write_text(text, encoding="utf-8")
    try:
        load_experiment(draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
