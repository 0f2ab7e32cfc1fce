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
@click.option("--on", metavar="SPLIT|FILE", help="train, validation or test of the spec, or a data file of the task.")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    metavar="NAME",
    shell_complete=completions.protocols,
    help="Override the spec's protocols: dual, rerank or code of retrieval, rank or generate of VQA. May be repeated.",
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
@json_option
def evaluate(
    target: Path,
    best: str | None,
    on: str | None,
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
    as_json: bool,
) -> None:
    """Evaluate a run, one of its checkpoints or an exported bundle: retrieval, or the accuracy of its task.

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
    changes = {name: value for name, value in given.items() if value is not None}
    target = best_or_given(target, best)
    model = load(target, device=require or device, precision=precision, warn=console.warn)
    with console.progress() as report:
        found = measure(model, on, keep=True, again=again, progress=report, warn=console.warn, **changes)
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
    if as_json:
        console.document(found.to_dict())
        return
    step = "" if model.step is None else f", step {model.step}"
    published = ["\n".join(map(str, found.published))] if found.published else []
    console.blocks(f"{target}{step}, {model.backend}", *result_blocks(found.results), *published)
