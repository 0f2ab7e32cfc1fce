"""`cbalign import`: import published weights as a run, with one subcommand for each format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cbalign.cli import completions, console
from cbalign.cli.options import json_option, profile_option, set_option
from cbalign.runtime.table import Table

if TYPE_CHECKING:
    from cbalign.experiment.load import LoadedExperiment
    from cbalign.interop.checkpoints.format import CheckpointFormat
    from cbalign.interop.checkpoints.prepared import Imported
    from cbalign.models.weights import WeightReport

_SHOWN = 50  # names of each outcome
_RUNS_DIR = click.Option(
    ["--runs-dir"], default="runs", type=click.Path(path_type=Path), show_default=True, help="Folder for new runs."
)
_NAME = click.Option(["--name"], help="Name of the run.")


class _Formats(click.Group):
    """Finds the formats in `cbalign.interop.checkpoints.formats` when it is asked for them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from cbalign.interop.checkpoints.format import checkpoint_formats

        return list(checkpoint_formats())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from cbalign.interop.checkpoints.format import checkpoint_formats

        found = checkpoint_formats().get(cmd_name)
        return None if found is None else _command(found)


@click.group("import", cls=_Formats)
def import_() -> None:
    """Import published weights as a run."""


def _command(form: CheckpointFormat) -> click.Command:
    """The subcommand of a format, with the options that it has."""

    def run(as_json: bool, runs_dir: Path, **given: Any) -> None:
        _run(form, runs_dir, as_json, given)

    command = click.Command(form.name, callback=run, help=form.about)
    source = "FILE" if "spec" in form.options else "FILE-OR-NAME"
    command.params = [click.Argument(["source"], metavar=source), *_options(form), _RUNS_DIR, _NAME]
    return json_option(command)


def _options(form: CheckpointFormat) -> list[click.Parameter]:
    found: dict[str, list[click.Parameter]] = {
        "spec": [
            click.Option(
                ["--spec"],
                metavar="SPEC",
                shell_complete=completions.specs,
                help="Experiment of the run; inferred from FILE by default.",
            ),
            *_parameters(set_option, profile_option),
        ],
        "config": [
            click.Option(
                ["--config"],
                metavar="FILE-OR-NAME",
                help="The model's configuration, or its name in the installed open_clip; by default the file next to "
                "the weights.",
            )
        ],
        "tokenizer": [
            click.Option(
                ["--tokenizer"],
                metavar="FOLDER",
                help="Folder or hub name of the tokenizer that the model was trained with.",
            )
        ],
        "heads": [
            click.Option(
                [f"--{tower}-heads"],
                type=click.IntRange(min=1),
                help=f"Attention heads of the {part}.  [default: width/64]",
            )
            for tower, part in (("image", "image tower"), ("text", "text layers"))
        ],
    }
    return [option for name, options in found.items() if name in form.options for option in options]


def _parameters(*decorators: Any) -> list[click.Parameter]:
    """The parameters that decorators of `cbalign.cli.options` add."""
    command = click.Command(None)
    for each in decorators:
        command = each(command)
    return command.params


def _run(form: CheckpointFormat, runs_dir: Path, as_json: bool, given: dict[str, Any]) -> None:
    loaded = _load(given.pop("spec", None), given.pop("overrides", ()), given.pop("profiles", ()), given["name"])

    from cbalign.interop.checkpoints.format import ImportRequest
    from cbalign.interop.checkpoints.prepared import import_checkpoint

    made = import_checkpoint(form, ImportRequest(loaded=loaded, **given), runs_dir)
    if as_json:
        console.document(_document(made))
        return
    lists = ["\n".join([f"{title}:", *_shown(names)]) for title, names in _lists(made.report)]
    console.note_blocks(_table(made), *lists, *made.notes)
    console.note(f"\n{made.parameters / 1e6:.1f} M trainable parameters; next: cbalign evaluate {made.run.folder}")
    console.result(str(made.run.folder))


def _shown(names: Sequence[str]) -> Iterator[str]:
    """Indent the first names; --json lists all."""
    yield from (f"  {each}" for each in names[:_SHOWN])
    if len(names) > _SHOWN:
        yield f"  and {len(names) - _SHOWN:,} more; --json lists all"


def _load(
    spec: str | None, overrides: tuple[str, ...], profiles: tuple[str, ...], name: str | None
) -> LoadedExperiment | None:
    from cbalign.experiment.load import load_experiment

    if spec is None:
        if overrides or profiles:
            raise click.UsageError("--set and --profile need --spec.")
        return None
    named = overrides if name is None else (*overrides, f"name={name}")
    return load_experiment(spec, named, profiles=profiles, check_files=False)


def _table(made: Imported) -> Table:
    """The number of tensors of each part that were loaded, copied, reshaped or left at their initial values."""
    report = made.report
    named = (report.loaded, report.copied, report.reshaped, report.missing)
    outcomes = [[_part(made, name) for name in names] for names in named]
    parts = dict.fromkeys(_part(made, name) for name in made.tensors.tensors)
    counts = {part: [outcome.count(part) for outcome in outcomes] for part in parts}
    rows = [[part, *(str(count or "") for count in each)] for part, each in counts.items() if any(each)]
    return Table.of(["part", "loaded", "from student", "reshaped", "missing"], rows, right=(1, 2, 3, 4))


def _part(made: Imported, line: str) -> str:
    """The part of the tensor that a line of the report begins with."""
    tensor = made.tensors.tensors[line.partition(":")[0]]
    return "teacher" if tensor.teacher else tensor.part


def _lists(report: WeightReport) -> list[tuple[str, tuple[str, ...]]]:
    titled = [
        ("reshaped", report.reshaped),
        ("missing in the file, initialised", report.missing),
        ("unexpected in the file, skipped", report.unexpected),
        ("skipped duplicates", report.redundant),
    ]
    return [(title, names) for title, names in titled if names]


def _document(made: Imported) -> dict[str, object]:
    report = made.report
    return {
        "run": str(made.run.folder),
        "parameters": made.parameters,
        "loaded": list(report.loaded),
        "from_student": list(report.copied),
        "reshaped": list(report.reshaped),
        "missing": list(report.missing),
        "unexpected": list(report.unexpected),
        "redundant": list(report.redundant),
        "notes": list(made.notes),
    }
