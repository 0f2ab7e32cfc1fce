"""`cbalign diff`: compare experiments and report what the differences affect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cbalign.cli import completions, console
from cbalign.cli.options import json_option
from cbalign.errors import BundleError, CheckpointError, UsageError

if TYPE_CHECKING:
    from cbalign.api.comparisons import Diff

CLASSES = ["architecture", "initialisation", "data", "training", "evaluation", "export", "runtime", "label"]


@click.command()
@click.argument("operands", metavar="A B [C…]", nargs=-1, shell_complete=completions.specs_and_results)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["text", "json", "markdown", "patch", "html"]),
    default="text",
    show_default=True,
    help="patch: a spec overlay that turns A into B.",
)
@json_option
@click.option(
    "--only",
    multiple=True,
    metavar="CLASS|PATH",
    shell_complete=completions.effects_and_paths,
    help="Compare only this effect class, or settings below this path.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="CLASS|PATH",
    shell_complete=completions.effects_and_paths,
    help="Ignore this effect class, or settings below this path.",
)
@click.option("--all", "everything", is_flag=True, help="Also list equal settings and every changed tensor.")
@click.option(
    "--fail-on",
    type=click.Choice(CLASSES),
    default="label",
    help="Exit with 1 only for differences of this class or a more severe one.",
)
@click.option(
    "--install-git-driver",
    "installs",
    is_flag=True,
    help="Use this comparison for specs in `git diff` of this repository.",
)
@click.option("--git-driver", "is_driver", is_flag=True, hidden=True)
@click.pass_context
def diff(
    ctx: click.Context,
    operands: tuple[str, ...],
    layout: str,
    as_json: bool,
    only: tuple[str, ...],
    ignore: tuple[str, ...],
    everything: bool,
    fail_on: str,
    installs: bool,
    is_driver: bool,
) -> None:
    """Compare the resolved values of experiments, grouped by effect class, most severe first.

    A, B: spec files, recipes, REV:path (git), run directories, checkpoints (RUN/checkpoints/step-N), bundles,
    or `defaults`, in any combination: all of them have a spec. Two runs are also compared by code, environment, data
    and metrics, two bundles by graphs and weights, two checkpoints by weights.

    A patch (--format patch) is a spec that extends A. `cbalign show SPEC --patch FILE` applies it to another spec and
    fails if a value that it replaces has changed.

    Exit code: 0 same, 1 different, 2 error. Differences in metrics do not affect the exit code.
    """
    if is_driver:
        from cbalign.cli.git_driver import show_change

        show_change(operands)
        return
    if installs:
        from cbalign.cli.git_driver import install

        if operands:
            raise click.UsageError("--install-git-driver takes no operands.")
        install()
        return
    if len(operands) < 2:
        raise click.UsageError("diff needs at least two experiments.")
    if layout == "patch" and len(operands) > 2:
        raise click.UsageError("a patch needs exactly two experiments.")
    from cbalign.api.comparisons import diff as compare
    from cbalign.parts.section import Effect

    try:
        found = compare(*operands, only=only, ignore=ignore, everything=everything, progress=console.note)
    except (CheckpointError, BundleError) as error:
        raise UsageError(error.message, remedy=error.remedy) from error
    _print(found, "json" if as_json else layout)
    worst = found.findings.comparison.worst
    ctx.exit(1 if worst is not None and worst.severity <= Effect(fail_on).severity else 0)


def _print(found: Diff, layout: str) -> None:
    if layout == "json":
        console.document(found.to_dict())
    elif layout == "patch":
        console.result(found.patch())
    elif layout == "html":
        from cbalign.render.diff_html import diff_html

        console.result(diff_html(found.findings))
    else:
        from cbalign.render.diff import diff_blocks, diff_markdown

        if layout == "markdown":
            console.result(diff_markdown(found.findings))
        else:
            console.blocks(*diff_blocks(found.findings, console.width()))
