"""`cbalign ls`: list the recipes, or the installed parts."""

from __future__ import annotations

from dataclasses import asdict

import click

from cbalign.cli import console
from cbalign.cli.options import json_option
from cbalign.runtime.table import Table


@click.command()
@click.option("--parts", is_flag=True, help="List the installed objectives, sources, towers and other parts instead.")
@json_option
def ls(parts: bool, as_json: bool) -> None:
    """List the recipes that are installed with cbalign. Their names can be used wherever a command takes a SPEC.

    With --parts: list everything that specs can name, with the distribution that it comes from.
    """
    if parts:
        _parts(as_json=as_json)
        return
    from cbalign.experiment.recipes import list_recipes

    found = list_recipes()
    if as_json:
        items = [{"name": recipe.name, "path": str(recipe.path), "about": recipe.about} for recipe in found]
        console.document({"recipes": items})
    else:
        console.blocks(Table.of(("RECIPE", "ABOUT"), [(recipe.name, recipe.about) for recipe in found]))


def _parts(*, as_json: bool) -> None:
    from cbalign.experiment.unions import report_unusable_parts, slow_parts, slowness, unusable, usable
    from cbalign.parts.registry import registry

    found = [part for part in registry().parts if part.name in usable(part.kind)]
    report_unusable_parts()
    warnings = [f"{part.origin}: {slowness(part)}" for part in slow_parts()]
    for warning in warnings:
        console.warn(warning)
    if not as_json:
        rows = [(part.kind.noun, part.name, str(part.origin), part.about) for part in found]
        console.blocks(Table.of(("KIND", "NAME", "FROM", "ABOUT"), rows))
        return
    items = [{"kind": p.kind.noun, "name": p.name, **asdict(p.origin), "about": p.about} for p in found]
    broken = [{"group": p.group, "name": p.name, **asdict(p.origin), "reason": p.reason} for p in unusable()]
    console.document({"parts": items, "broken": broken, "warnings": warnings})
