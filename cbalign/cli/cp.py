"""`cbalign cp`: copy a recipe."""

from __future__ import annotations

from pathlib import Path

import click

from cbalign.cli import completions, console


@click.command()
@click.argument("recipe", shell_complete=completions.recipes)
@click.argument("target", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--parents", "-p", is_flag=True, help="Create missing parent folders of FILE.")
def cp(recipe: str, target: Path | None, force: bool, parents: bool) -> None:
    """Copy RECIPE to FILE, by default to a file of the same name in this folder. `extends` still works in the copy."""
    from cbalign.errors import UsageError
    from cbalign.experiment.recipes import list_recipes
    from cbalign.experiment.suggestions import did_you_mean

    known = {each.name: each.path for each in list_recipes()}
    source = known.get(recipe.removesuffix(".yaml"))
    if source is None:
        hint = did_you_mean(recipe, known) or "`cbalign ls` lists the recipes."
        raise UsageError(f"Unknown recipe {recipe!r}.", remedy=hint)
    if target is None or target.is_dir():
        target = (target or Path()) / source.name
    if target.exists() and not force:
        raise UsageError(f"{target} already exists.", remedy="Choose another file, or replace it with --force.")
    if parents:
        target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    console.note(f"next: cbalign validate {target}")
    console.result(str(target))
