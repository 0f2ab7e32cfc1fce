"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click

from cbalign.cli import offers

spec_argument = click.argument("spec", metavar="SPEC", shell_complete=offers.specs_and_results)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    shell_complete=offers.overrides,
    help="Change one value: a.b=value, +list=item, ~a.b (back to its default). May be repeated.",
)
profile_option = click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="NAME",
    shell_complete=offers.profiles,
    help="Apply an overlay of the spec's `profiles`.",
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
runs_dir_option = click.option(
    "--runs-dir", default="runs", type=click.Path(path_type=Path), show_default=True, help="Where the runs are."
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or tensorrt.")
require_option = click.option(
    "--require",
    type=click.Choice(["cuda", "tensorrt"]),
    help="Exit with 4 unless this provider does the work, all of it.",
)
