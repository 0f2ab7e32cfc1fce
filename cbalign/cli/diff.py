"""`cbalign diff`: tell experiments apart, and what the difference does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cbalign.cli import console, offers
from cbalign.cli.options import json_option

if TYPE_CHECKING:
    from cbalign.spec.diff import Difference

CLASSES = ["architecture", "initialisation", "data", "training", "evaluation", "export", "runtime", "label"]


@click.command()
@click.argument("operands", metavar="A B [C…]", nargs=-1, required=True, shell_complete=offers.specs_and_results)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["text", "json", "markdown", "patch"]),
    default="text",
    show_default=True,
    help="patch: a spec overlay that makes B of A.",
)
@json_option
@click.option("--only", multiple=True, metavar="CLASS|PATH", help="Only this effect class, or what is below a path.")
@click.option("--ignore", multiple=True, metavar="CLASS|PATH", help="Not this effect class, nor what is below a path.")
@click.option(
    "--fail-on",
    type=click.Choice(CLASSES),
    default="label",
    help="Exit with 1 only for differences of this class or a worse one.",
)
@click.pass_context
def diff(
    ctx: click.Context,
    operands: tuple[str, ...],
    layout: str,
    as_json: bool,
    only: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str,
) -> None:
    """Compare experiments by their resolved values, grouped by what a change does, worst first.

    A, B: spec files, recipes, run directories, bundles, or `defaults`.

    Exit code: 0 the same, 1 different, 2 trouble.
    """
    from cbalign.cli import diff_layouts
    from cbalign.spec.diff import compare
    from cbalign.spec.operands import open_operand
    from cbalign.spec.section import Effect

    if len(operands) < 2:
        raise click.UsageError("diff takes two experiments or more.")
    if layout == "patch" and len(operands) > 2:
        raise click.UsageError("a patch is between two experiments.")
    opened = [open_operand(name) for name in operands]
    comparison = compare([each.loaded for each in opened])
    for names, keep in ((only, True), (ignore, False)):
        if names:
            comparison = comparison.keep(lambda d, n=names, k=keep: _is_among(d, n) is k)  # type: ignore[misc]
    if as_json or layout == "json":
        console.document(diff_layouts.as_data(opened, comparison))
    elif layout == "markdown":
        console.result(diff_layouts.as_markdown(opened, comparison))
    elif layout == "patch":
        console.result(diff_layouts.as_patch(opened[0], opened[1]))
    else:
        console.result(diff_layouts.as_text(opened, comparison, console.width()))
    worst = comparison.worst
    ctx.exit(1 if worst is not None and worst.severity <= Effect(fail_on).severity else 0)


def _is_among(difference: Difference, names: tuple[str, ...]) -> bool:
    path = difference.path
    return any(
        name == difference.effect.value or path == name or path.startswith((f"{name}.", f"{name}[", f"{name} "))
        for name in names
    )
