"""`cbalign diff`: tell experiments apart, and what the difference does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cbalign.cli import console, offers
from cbalign.cli.options import json_option
from cbalign.errors import BundleError, CheckpointError, UsageError

if TYPE_CHECKING:
    from cbalign.cli.diff_findings import Findings

CLASSES = ["architecture", "initialisation", "data", "training", "evaluation", "export", "runtime", "label"]


@click.command()
@click.argument("operands", metavar="A B [C…]", nargs=-1, shell_complete=offers.specs_and_results)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["text", "json", "markdown", "patch", "html"]),
    default="text",
    show_default=True,
    help="patch: a spec overlay that makes B of A.",
)
@json_option
@click.option(
    "--only",
    multiple=True,
    metavar="CLASS|PATH",
    shell_complete=offers.effects_and_paths,
    help="Only this effect class, or what is below a path.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="CLASS|PATH",
    shell_complete=offers.effects_and_paths,
    help="Not this effect class, nor what is below a path.",
)
@click.option("--all", "everything", is_flag=True, help="Also what is the same, and every tensor that changed.")
@click.option(
    "--fail-on",
    type=click.Choice(CLASSES),
    default="label",
    help="Exit with 1 only for differences of this class or a worse one.",
)
@click.option(
    "--install-git-driver", "installs", is_flag=True, help="Let `git diff` of this repository compare specs like this."
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
    """Compare experiments by their resolved values, grouped by what a change does, worst first.

    A, B: spec files, recipes, REV:path (git), run directories, checkpoints (RUN/checkpoints/step-N), bundles,
    or `defaults`. Kinds may be mixed: all of them have a spec. Two runs are also compared by code, environment, data
    and metrics, two bundles by graphs and weights, two checkpoints by weights.

    A patch (--format patch) is a spec that extends A. `cbalign show SPEC --patch FILE` applies it to another spec,
    and it is refused where what it replaces has changed.

    Exit code: 0 the same, 1 different, 2 trouble. Metrics are results and do not count.
    """
    if is_driver:
        from cbalign.cli.git_driver import show_change

        show_change(operands)
        return
    if installs:
        from cbalign.cli.git_driver import install

        if operands:
            raise click.UsageError("--install-git-driver compares nothing: leave the operands out.")
        install()
        return
    if len(operands) < 2:
        raise click.UsageError("diff takes two experiments or more.")
    if layout == "patch" and len(operands) > 2:
        raise click.UsageError("a patch is between two experiments.")
    from cbalign.cli.diff_findings import gather
    from cbalign.experiment.operands import open_operand
    from cbalign.parts.section import Effect

    opened = [open_operand(name) for name in operands]
    try:
        findings = gather(opened, only=only, ignore=ignore, everything=everything, report=console.note)
    except (CheckpointError, BundleError) as error:
        raise UsageError(error.message, remedy=error.remedy) from error
    _print(findings, "json" if as_json else layout)
    worst = findings.comparison.worst
    ctx.exit(1 if worst is not None and worst.severity <= Effect(fail_on).severity else 0)


def _print(findings: Findings, layout: str) -> None:
    if layout == "json":
        from cbalign.cli.diff_layouts.data import as_data

        console.document(as_data(findings))
    elif layout == "markdown":
        from cbalign.cli.diff_layouts.markdown import as_markdown

        console.result(as_markdown(findings))
    elif layout == "html":
        from cbalign.cli.diff_layouts.html import as_html

        console.result(as_html(findings))
    elif layout == "patch":
        from cbalign.cli.diff_layouts.patch import as_patch

        console.result(as_patch(findings.operands[0], findings.operands[1]))
    else:
        from cbalign.cli.diff_layouts.text import as_text

        console.result(as_text(findings, console.width()))
