"""`cbalign import`: import published weights as a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import completions, console
from cbalign.cli.options import json_option, profile_option, set_option
from cbalign.runtime.table import Table

if TYPE_CHECKING:
    from cbalign.interop.import_albef import Imported
    from cbalign.models.weights import WeightReport


@click.group("import")
def import_() -> None:
    """Import published weights as a run."""


@import_.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--spec",
    metavar="SPEC",
    shell_complete=completions.specs,
    help="Experiment of the run; inferred from FILE by default.",
)
@set_option
@profile_option
@click.option(
    "--runs-dir", default="runs", type=click.Path(path_type=Path), show_default=True, help="Folder for new runs."
)
@click.option("--name", help="Name of the run.")
@click.option("--tokenizer", metavar="FOLDER", help="Folder or hub name of the tokenizer that FILE was trained with.")
@click.option(
    "--image-heads", type=click.IntRange(min=1), help="Attention heads of the image tower.  [default: width/64]"
)
@click.option(
    "--text-heads", type=click.IntRange(min=1), help="Attention heads of the text layers.  [default: width/64]"
)
@json_option
def albef(
    file: Path,
    spec: str | None,
    overrides: tuple[str, ...],
    profiles: tuple[str, ...],
    runs_dir: Path,
    name: str | None,
    tokenizer: str | None,
    image_heads: int | None,
    text_heads: int | None,
    as_json: bool,
) -> None:
    """Import a pretraining or retrieval checkpoint of ALBEF or TCL as a run.

    FILE is an ALBEF.pth with or without teacher and queues, or the state dict of a fine-tuned release. It is read
    without executing code. The run can be evaluated, exported and resumed; without --spec its data are the OpenMoji
    drawings.
    """
    from cbalign.experiment.load import load_experiment

    if spec is None and (overrides or profiles):
        raise click.UsageError("--set and --profile need --spec.")
    named = overrides if name is None else (*overrides, f"name={name}")
    loaded = None if spec is None else load_experiment(spec, named, profiles=profiles, check_files=False)

    from cbalign.interop.import_albef import import_albef

    made = import_albef(
        file,
        runs_dir,
        loaded=loaded,
        name=name,
        tokenizer=tokenizer,
        image_heads=image_heads,
        text_heads=text_heads,
    )
    if as_json:
        console.document(_document(made))
        return
    lists = ["\n".join([f"{title}:", *(f"  {each}" for each in names)]) for title, names in _lists(made.report)]
    console.note_blocks(_table(made), *lists)
    console.note(f"\n{made.parameters / 1e6:.1f} M trainable parameters; next: cbalign evaluate {made.run.folder}")
    console.result(str(made.run.folder))


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
    }
