"""Arguments and options that several verbs share."""

from __future__ import annotations

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
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or tensorrt.")
require_option = click.option(
    "--require",
    type=click.Choice(["cuda", "tensorrt"]),
    help="Exit with 4 unless this provider does the work, all of it.",
)
