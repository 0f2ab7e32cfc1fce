"""`cbalign evaluate`: measure a run or its bundle with the same protocols and the same report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cbalign.cli import completions, console
from cbalign.cli.options import best_option, best_or_given, device_option, json_option, require_option


@click.command()
@click.argument(
    "target", metavar="RUN|CHECKPOINT|BUNDLE", type=click.Path(path_type=Path), shell_complete=completions.results
)
@best_option
@click.option(
    "--on",
    metavar="SPLIT|FILE|FOLDER",
    help="train, validation or test of the spec, or a data file of the task; for zero_shot also a folder of class "
    "folders.",
)
@click.option(
    "--kind",
    metavar="NAME",
    shell_complete=completions.evaluations,
    help="Only evaluations of this kind, such as retrieval, zero_shot or compositional; it need not be in the spec.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help='Override a setting of the evaluation, such as templates="a photo of a {}.". May be repeated.',
)
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    metavar="NAME",
    shell_complete=completions.protocols,
    help="Override the spec's protocols: dual, rerank, code or dual+code of retrieval, dual, match or code of foils, "
    "linear or knn of probes, rank or generate of VQA. May be repeated.",
)
@click.option(
    "--zero-shot",
    is_flag=True,
    help="Report retrieval as zero-shot; fails if the model or an ancestor was trained on the data set.",
)
@click.option(
    "--top-k", type=click.IntRange(min=1), help="Override the number of candidates that `rerank` or `rank` scores."
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Override the number of items per forward pass.")
@click.option("--bootstrap", type=click.IntRange(min=0), help="Override the number of bootstrap resamples.")
@click.option("--again", is_flag=True, help="Evaluate again, and replace results that the run already has.")
@device_option
@require_option
@click.option("--precision", help="Precision of a bundle.  [default: the first that it lists]")
@click.option(
    "--predictions",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the prediction for every item to a file, in the format of the data set's tools.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the JSON document to a file.")
@click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="FORMAT=DIR",
    help="Write the results in the JSON form of clip_benchmark or mteb into a folder. May be repeated.",
)
@json_option
def evaluate(
    target: Path,
    best: str | None,
    on: str | None,
    kind: str | None,
    settings: tuple[str, ...],
    protocols: tuple[str, ...],
    zero_shot: bool,
    top_k: int | None,
    batch_size: int | None,
    bootstrap: int | None,
    again: bool,
    device: str,
    require: str | None,
    precision: str | None,
    predictions: Path | None,
    output: Path | None,
    exports: tuple[str, ...],
    as_json: bool,
) -> None:
    """Evaluate a run, one of its checkpoints or an exported bundle: retrieval, classes, foils, or its own task.

    RUN is a run directory, whose newest checkpoint is evaluated, or a checkpoint (RUN/checkpoints/step-N).

    Without options this runs the evaluations that the spec lists under `evaluate`. Results of a run are written to its
    folder evaluation/, with the rank or score of every item. What is stored there for the same checkpoint, settings,
    data, device and version is printed without evaluating again.
    """
    from cbalign.api.evaluations import evaluate as measure
    from cbalign.api.opening import load
    from cbalign.engine.files import write_durably
    from cbalign.evaluation.table import result_blocks

    given: dict[str, Any] = {
        "protocols": protocols or None,
        "zero_shot": zero_shot or None,
        "top_k": top_k,
        "batch_size": batch_size,
        "bootstrap": bootstrap,
    }
    changes = {name: value for name, value in given.items() if value is not None} | dict(map(_setting, settings))
    formats = list(map(_export, exports))
    target = best_or_given(target, best)
    model = load(target, device=require or device, precision=precision, warn=console.warn)
    with console.progress() as report:
        found = measure(model, on, kind=kind, keep=True, again=again, progress=report, warn=console.warn, **changes)
    for one in found.measurements:
        if one.stored:
            names = ", ".join(f"{result.split} {result.protocol_name}" for result in one.results)
            console.note(f"{names}: evaluated before, {one.stored[-1].created}; --again evaluates again")
    if predictions is not None:
        write_durably(predictions, found.predictions().encode())
        if skipped := sum(result.unreadable for result in found.results):
            console.warn(f"{skipped:,} items with unreadable images are missing in {predictions}")
    if output is not None:
        found.save(output)
    for name, folder in formats:
        found.export(name, folder)
    if as_json:
        console.document(found.to_dict())
        return
    step = "" if model.step is None else f", step {model.step}"
    published = ["\n".join(map(str, found.published))] if found.published else []
    console.blocks(f"{target}{step}, {model.backend}", *result_blocks(found.results), *published)


def _export(text: str) -> tuple[str, Path]:
    """Read FORMAT=DIR."""
    from cbalign.evaluation.formats import FORMAT_NAMES

    name, _, folder = text.partition("=")
    if name not in FORMAT_NAMES or not folder:
        raise click.BadParameter(f"{text!r} is not FORMAT=DIR with {' or '.join(FORMAT_NAMES)}.", param_hint="--export")
    return name, Path(folder)


def _setting(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE, whose value is written as in a spec."""
    from cbalign.experiment.document import SourceText, plain_data
    from cbalign.experiment.reader import read_node

    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise click.BadParameter(f"{text!r} is not NAME=VALUE, such as top_k=16.", param_hint="--set")
    node = read_node(SourceText("--set", value, kind="option"))
    return name, None if node is None else plain_data(node)
