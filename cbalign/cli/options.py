"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click

spec_argument = click.argument("spec", metavar="SPEC")
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change one value: a.b=value, +list=item, ~a.b (back to its default). May be repeated.",
)
profile_option = click.option(
    "--profile", "profiles", multiple=True, metavar="NAME", help="Apply an overlay of the spec's `profiles`."
)
patch_option = click.option(
    "--patch",
    "patches",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Apply a patch of `cbalign diff --format patch`; refused where what it replaces has changed.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
