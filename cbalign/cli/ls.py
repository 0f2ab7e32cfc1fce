"""`cbalign ls`: list the recipes."""

from __future__ import annotations

import click

from cbalign.cli import console
from cbalign.cli.options import json_option
from cbalign.runtime.table import Table


@click.command()
@json_option
def ls(as_json: bool) -> None:
    """List the recipes that are installed with cbalign. Their names can be used wherever a command takes a SPEC."""
    from cbalign.experiment.recipes import recipes

    found = recipes()
    if as_json:
        items = [{"name": recipe.name, "path": str(recipe.path), "about": recipe.about} for recipe in found]
        console.document({"recipes": items})
    else:
        console.blocks(Table.of(("RECIPE", "ABOUT"), [(recipe.name, recipe.about) for recipe in found]))
