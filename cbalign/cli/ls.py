"""`cbalign ls`: the recipes."""

from __future__ import annotations

import click

from cbalign.cli import console
from cbalign.cli.options import json_option


@click.command()
@json_option
def ls(as_json: bool) -> None:
    """List the recipes that come with cbalign. Every command that takes a SPEC takes their names."""
    from cbalign.experiment.recipes import recipes

    found = recipes()
    if as_json:
        items = [{"name": recipe.name, "path": str(recipe.path), "about": recipe.about} for recipe in found]
        console.document({"recipes": items})
    else:
        console.result(console.table(("RECIPE", "ABOUT"), [(recipe.name, recipe.about) for recipe in found]))
