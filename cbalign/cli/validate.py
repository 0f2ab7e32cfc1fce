"""`cbalign validate`: report every mistake of every spec with its position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cbalign.cli import completions, console
from cbalign.cli.options import json_option, profile_option, set_option

if TYPE_CHECKING:
    from cbalign.experiment.diagnostics import Diagnostic


@click.command()
@click.argument("specs", metavar="SPEC…", nargs=-1, required=True, shell_complete=completions.specs)
@set_option
@profile_option
@json_option
@click.option(
    "--format",
    "layout",
    type=click.Choice(["text", "github"]),
    default="text",
    show_default=True,
    help="github: workflow commands that annotate the lines of a pull request.",
)
@click.option("--no-files", is_flag=True, help="Do not check whether the data files exist.")
@click.pass_context
def validate(
    ctx: click.Context,
    specs: tuple[str, ...],
    overrides: tuple[str, ...],
    profiles: tuple[str, ...],
    as_json: bool,
    layout: str,
    no_files: bool,
) -> None:
    """Check specs without training, downloading or a GPU.

    SPEC is a file, `-` for standard input, or the name of a recipe. All its profiles are checked.
    Exits with 2 when a spec has a mistake.
    """
    mistakes = {spec: _mistakes(spec, overrides, profiles, not no_files) for spec in specs}
    wrong = [diagnostic for found in mistakes.values() for diagnostic in found]
    if as_json:
        reports = [
            {"spec": spec, "valid": not found, "mistakes": [each.as_data() for each in found]}
            for spec, found in mistakes.items()
        ]
        console.document({"valid": not wrong, "specs": reports})
    elif layout == "github":
        for diagnostic in wrong:
            console.result(diagnostic.as_github())
    else:
        _print_text(mistakes)
    ctx.exit(2 if wrong else 0)


def _mistakes(spec: str, overrides: tuple[str, ...], profiles: tuple[str, ...], check_files: bool) -> list[Diagnostic]:
    """Find the mistakes of a spec with the given profiles; if none are given, also with each of its profiles."""
    from cbalign.experiment.diagnostics import InvalidSpec
    from cbalign.experiment.load import load_experiment

    found: dict[str, Diagnostic] = {}
    waiting = [profiles]
    while waiting:
        asked = waiting.pop(0)
        try:
            loaded = load_experiment(spec, overrides, profiles=asked, check_files=check_files)
        except InvalidSpec as error:
            found |= {each.as_text(): each for each in error.diagnostics}
        else:
            waiting += [(name,) for name in loaded.profiles if not profiles and not asked and spec != "-"]
    return list(found.values())


def _print_text(mistakes: dict[str, list[Diagnostic]]) -> None:
    """Print mistakes on stderr, and a line for each valid spec on stdout."""
    for spec, found in mistakes.items():
        if not found:
            console.result(f"{spec}: valid")
            continue
        for diagnostic in found:
            console.note(diagnostic.as_text() + "\n")
        count = f"{len(found)} mistake{'s' * (len(found) != 1)}"
        console.note(f"{spec}: {count}")
