"""`cbalign import`: weights that others published, as a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import console, offers
from cbalign.cli.options import json_option, profile_option, set_option

if TYPE_CHECKING:
    from cbalign.interop.import_albef import Imported
    from cbalign.models.albef_import import Taken

PARTS = (
    ("image tower", "student.vision."),
    ("text tower", "student.text."),
    ("fusion", "student.fusion."),
    ("masked-language head", "objectives.masked_language.head.student."),
    ("projections", "student."),
    ("teacher", "teacher."),
    ("teacher", "objectives.masked_language.head.teacher."),
    ("match head", "objectives.matching."),
    ("temperature", "temperature."),
    ("queues", "image_queue."),
    ("queues", "text_queue."),
    ("queues", "queues:"),
    ("codebook", "objectives.codebook."),
)


@click.group("import")
def import_() -> None:
    """Turn published weights into a run."""


@import_.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--spec",
    metavar="SPEC",
    shell_complete=offers.specs,
    help="The experiment that the run is to be of; else it is read off the file.",
)
@set_option
@profile_option
@click.option(
    "--runs-dir", default="runs", type=click.Path(path_type=Path), show_default=True, help="Where new runs go."
)
@click.option("--name", help="Name of the run.")
@click.option("--tokenizer", metavar="FOLDER", help="Folder or hub name of the BERT whose vocabulary FILE uses.")
@click.option("--image-heads", type=click.IntRange(min=1), help="Attention heads of the image tower, if not width/64.")
@click.option("--text-heads", type=click.IntRange(min=1), help="Attention heads of the text layers, if not width/64.")
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
    """Make a run of a pretraining or retrieval checkpoint of ALBEF or TCL.

    FILE is an ALBEF.pth with or without teacher and queues, or the bare state dict of a fine-tuned release. It is
    read without running code that it may hold. The run can be evaluated, exported and trained on at once; without
    --spec its data are the OpenMoji drawings.
    """
    from cbalign.experiment.load import load_experiment

    if spec is None and (overrides or profiles):
        raise click.UsageError("--set and --profile change a spec: name it with --spec.")
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
    console.note(_table(made.taken))
    for title, names in _lists(made.taken):
        console.note("\n".join([f"\n{title}:", *(f"  {each}" for each in names)]))
    console.note(f"\n{made.parameters / 1e6:.1f} M trainable parameters; next: cbalign evaluate {made.run.folder}")
    console.result(str(made.run.folder))


def _table(taken: Taken) -> str:
    """How many tensors of each part were taken over, copied, reshaped or made anew."""
    outcomes = (taken.loaded, taken.copied, taken.reshaped, taken.new)
    rows = []
    for part in dict.fromkeys(name for name, _ in PARTS):
        counts = [sum(_part(name) == part for name in names) for names in outcomes]
        if any(counts):
            rows.append([part, *(str(count) if count else "" for count in counts)])
    return console.table(["part", "loaded", "from student", "reshaped", "missing"], rows, right=(1, 2, 3, 4))


def _part(name: str) -> str:
    return next(part for part, prefix in PARTS if name.startswith(prefix))


def _lists(taken: Taken) -> list[tuple[str, tuple[str, ...]]]:
    titled = [
        ("reshaped", taken.reshaped),
        ("missing in the file, new here", taken.new),
        ("unexpected in the file, left out", taken.unexpected),
        ("left out because they repeat others", taken.redundant),
    ]
    return [(title, names) for title, names in titled if names]


def _document(made: Imported) -> dict[str, object]:
    taken = made.taken
    return {
        "run": str(made.run.folder),
        "parameters": made.parameters,
        "loaded": list(taken.loaded),
        "from_student": list(taken.copied),
        "reshaped": list(taken.reshaped),
        "missing": list(taken.new),
        "unexpected": list(taken.unexpected),
        "redundant": list(taken.redundant),
    }
