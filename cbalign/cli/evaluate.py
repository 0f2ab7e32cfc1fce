"""`cbalign evaluate`: measure a run or its bundle with the same protocols and the same report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import completions, console
from cbalign.cli.options import device_option, json_option, require_option
from cbalign.runtime.machine import installed

if TYPE_CHECKING:
    from cbalign.evaluation.result import EvaluationDocument
    from cbalign.tasks.opened import OpenedModel

_PACKAGES = ("cbalign", "numpy", "Pillow", "tokenizers", "torch", "timm", "onnxruntime-gpu", "onnxruntime")


@click.command()
@click.argument("target", metavar="RUN|BUNDLE", type=click.Path(path_type=Path), shell_complete=completions.results)
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
    on: str | None,
    protocols: tuple[str, ...],
    zero_shot: bool,
    top_k: int | None,
    batch_size: int | None,
    bootstrap: int | None,
    device: str,
    require: str | None,
    precision: str | None,
    predictions: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Evaluate the newest checkpoint of a run, or an exported bundle: retrieval, or the accuracy of its task.

    Without options this runs the evaluations that the spec lists under `evaluate`. Results of a run are written to its
    folder evaluation/, with the rank or score of every item.
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    from cbalign.engine.files import write_durably
    from cbalign.evaluation.evaluator import predictions_file
    from cbalign.evaluation.published import beside
    from cbalign.evaluation.result import EvaluationDocument
    from cbalign.evaluation.table import result_blocks
    from cbalign.tasks.evaluate import evaluate_opened
    from cbalign.tasks.opened import open_model

    given = {
        "protocols": protocols or None,
        "zero_shot": zero_shot or None,
        "top_k": top_k,
        "batch_size": batch_size,
        "bootstrap": bootstrap,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    opened = open_model(target, require or device, precision, warn=console.warn)
    with console.progress() as report:
        measured = evaluate_opened(opened, on, changes, report=report, warn=console.warn)
    each = [(one, result) for one in measured for result in one.results]
    results = [result for _, result in each]
    fine_tuned = not opened.experiment.task.pretrains
    figures = [
        figure
        for one, result in each
        for figure in beside(result, one.section.on, one.data.data_sets(), fine_tuned=fine_tuned)
    ]
    evaluation = EvaluationDocument(
        subject=str(target),
        step=opened.step,
        backend=opened.backend,
        results=tuple(results),
        versions=installed(_PACKAGES),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if predictions is not None:
        write_durably(predictions, predictions_file([(one.section, result) for one, result in each]).encode())
        if skipped := sum(result.unreadable for result in results):
            console.warn(f"{skipped:,} items with unreadable images are missing in {predictions}")
    _keep(evaluation, opened, output)
    if as_json:
        console.document({**evaluation.to_data(), "published": [asdict(figure) for figure in figures]})
        return
    step = "" if opened.step is None else f", step {opened.step}"
    published = ["\n".join(map(str, figures))] if figures else []
    console.blocks(f"{target}{step}, {opened.backend}", *result_blocks(results), *published)


def _keep(evaluation: EvaluationDocument, opened: OpenedModel, output: Path | None) -> None:
    from dataclasses import replace

    from cbalign.engine.files import write_durably
    from cbalign.evaluation.result import file_name

    if output is not None:
        write_durably(output, evaluation.to_json().encode())
    if opened.results is not None:
        opened.results.mkdir(exist_ok=True)
        for result in evaluation.results:
            one = replace(evaluation, results=(result,))
            write_durably(opened.results / file_name(result, opened.step), one.to_json().encode())
