"""`cbalign schema`: the JSON Schema of specs."""

from __future__ import annotations

import json

import click

from cbalign.cli import console


@click.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of spec files.

    Save it and name it on a spec's first line, and an editor completes and explains settings:

    # yaml-language-server: $schema=experiment.json
    """
    from cbalign.experiment.schema import json_schema

    console.result(json.dumps(json_schema(), indent=2, ensure_ascii=False))
