"""`cbalign schema`: print the JSON Schema of specs."""

from __future__ import annotations

import click

from cbalign.cli import console


@click.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of spec files.

    Save it and refer to it in the first line of a spec, so that editors complete and describe settings:

    # yaml-language-server: $schema=experiment.json
    """
    from cbalign.experiment.schema import json_schema
    from cbalign.runtime.document import json_document

    console.result(json_document(json_schema()).rstrip())
