"""Arguments and options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cbalign.cli import completions
from cbalign.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
TEXT, JSON, MARKDOWN, CSV = "text", "json", "markdown", "csv"

spec_argument = click.argument("spec", metavar="SPEC", shell_complete=completions.specs_and_results)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    shell_complete=completions.overrides,
    help="Change one value: a.b=value, +list=item, ~a.b (restore the default). May be repeated.",
)
profile_option = click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="NAME",
    shell_complete=completions.profiles,
    help="Apply an overlay of the spec's `profiles`.",
)
patch_option = click.option(
    "--patch",
    "patches",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Apply a patch of `cbalign diff --format patch`; fails if a value that it replaces has changed.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
runs_dir_option = click.option(
    "--runs-dir", default="runs", type=click.Path(path_type=Path), show_default=True, help="Folder of the runs."
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or tensorrt.")
require_option = click.option(
    "--require",
    type=click.Choice(["cuda", "tensorrt"]),
    help="Exit with 4 unless this provider runs the whole model.",
)


best_option = click.option(
    "--best",
    metavar="METRIC",
    shell_complete=completions.metrics,
    help="The checkpoint of RUN with the best METRIC during training, by its name, the end of its name, or a pattern "
    "with *, whose metrics are averaged.",
)


def best_or_given(target: Path, best: str | None) -> Path:
    """Return the best checkpoint of a run by a metric, or what was given where there is no metric.

    Raises:
        UsageError: the target is not a run, or has no such metric.
        CheckpointError: the best checkpoint was not kept.
    """
    if best is None:
        return target
    from cbalign.api.opening import find_model
    from cbalign.api.runs import Run
    from cbalign.engine.checkpoint_folder import names_checkpoint
    from cbalign.runtime.bundle import is_bundle

    path = find_model(target)
    if is_bundle(path) or names_checkpoint(path):
        raise UsageError(f"--best chooses among the checkpoints of a run, but {target} is not a run")
    return Run(path).best(best)


def layout_options(command: F) -> F:
    """Add `--json`, `--markdown` and `--csv` as the argument `layout`, which is `text` by default."""
    options = (
        click.option("--csv", "layout", flag_value=CSV, help="Print comma-separated values."),
        click.option("--markdown", "layout", flag_value=MARKDOWN, help="Print a Markdown table."),
        click.option("--json", "layout", flag_value=JSON, help="Print one JSON document and nothing else."),
        click.option("--text", "layout", flag_value=TEXT, default=True, hidden=True),
    )
    for option in options:
        command = option(command)
    return command
