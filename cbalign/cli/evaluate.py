"""`cbalign evaluate`: the same protocols and the same table for a run and for its bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from cbalign.cli import console, offers
from cbalign.cli.options import device_option, json_option, require_option
from cbalign.cli.subject import Subject, open_subject
from cbalign.errors import UsageError
from cbalign.machine import installed

if TYPE_CHECKING:
    from cbalign.encoders import Encoder
    from cbalign.evaluation.result import RetrievalResult
    from cbalign.spec.data import Source
    from cbalign.spec.evaluation import RetrievalEvaluation
    from cbalign.spec.experiment import Experiment

_PROTOCOLS = ("dual", "rerank", "code")
_PACKAGES = ("cbalign", "numpy", "Pillow", "tokenizers", "torch", "timm", "onnxruntime-gpu", "onnxruntime")


@click.command()
@click.argument("target", metavar="RUN|BUNDLE", type=click.Path(path_type=Path), shell_complete=offers.results)
@click.option(
    "--on", metavar="SPLIT|FILE", help="train, validation or test of the spec, or a JSON or CSV file of pairs."
)
@click.option("--protocol", "protocols", multiple=True, type=click.Choice(_PROTOCOLS), help="Instead of the spec's.")
@click.option("--top-k", type=click.IntRange(min=1), help="Candidates that rerank scores, instead of the spec's.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Items per forward pass, instead of the spec's.")
@click.option("--bootstrap", type=click.IntRange(min=0), help="Resamples for the intervals, instead of the spec's.")
@device_option
@require_option
@click.option("--precision", help="Which graphs of a bundle, instead of the first that it lists.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the JSON document to a file.")
@json_option
def evaluate(
    target: Path,
    on: str | None,
    protocols: tuple[str, ...],
    top_k: int | None,
    batch_size: int | None,
    bootstrap: int | None,
    device: str,
    require: str | None,
    precision: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure image-text retrieval of a run's newest checkpoint, or of an exported bundle.

    Without options it measures what the spec's `evaluate` lists. Results of a run are kept in its folder evaluation/,
    with the rank of every query.
    """
    from datetime import UTC, datetime

    from cbalign.evaluation.result import Evaluation
    from cbalign.evaluation.table import format_table

    changes = {"protocols": protocols or None, "top_k": top_k, "batch_size": batch_size, "bootstrap": bootstrap}
    changes = {name: value for name, value in changes.items() if value is not None}
    subject = open_subject(target, require or device, precision)
    results: list[RetrievalResult] = []
    for section in _sections(subject.experiment, subject.encoder, on, explicit=bool(protocols)):
        results.extend(_measure(subject, section.model_copy(update=changes), on))
    evaluation = Evaluation(
        subject=str(target),
        step=subject.step,
        backend=subject.backend,
        results=tuple(results),
        versions=installed(_PACKAGES),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _keep(evaluation, subject, output)
    if as_json:
        console.document(evaluation.to_data())
        return
    step = "" if subject.step is None else f", step {subject.step}"
    console.result(f"{target}{step}, {subject.backend}\n\n{format_table(results)}")


def _sections(
    experiment: Experiment, encoder: Encoder, on: str | None, *, explicit: bool
) -> tuple[RetrievalEvaluation, ...]:
    """What to measure: the spec's list, its entries for one split, or its first entry on another split."""
    from cbalign.spec.data import Split
    from cbalign.spec.evaluation import RetrievalEvaluation

    if on is None:
        if not experiment.evaluate:
            raise UsageError("the spec lists nothing under `evaluate`", remedy="Name a split: --on test.")
        return experiment.evaluate
    if same := tuple(section for section in experiment.evaluate if section.on == on):
        return same
    split = on if on in get_args(Split) else "test"  # a file's pairs are renamed afterwards
    if experiment.evaluate:
        return (experiment.evaluate[0].model_copy(update={"on": split}),)
    has = {"dual": True, "rerank": encoder.has_matcher, "code": encoder.has_codebook}
    protocols = tuple(name for name in _PROTOCOLS if has[name]) if not explicit else ("dual",)
    return (RetrievalEvaluation.model_validate({"on": split, "protocols": protocols}),)


def _measure(subject: Subject, section: RetrievalEvaluation, on: str | None) -> tuple[RetrievalResult, ...]:
    from cbalign.data.source import open_source
    from cbalign.evaluation.retrieval import evaluate_retrieval

    pairs, name = _pairs(subject.experiment, section, on)
    with console.progress() as report:
        results = evaluate_retrieval(
            subject.encoder,
            open_source(pairs),
            section,
            corrupt_limit=subject.experiment.data.corrupt_limit,
            report=report,
        )
    return tuple(result.renamed(name) for result in results)


def _pairs(experiment: Experiment, section: RetrievalEvaluation, on: str | None) -> tuple[Source, str]:
    """The section's source and what tables call it."""
    from cbalign.spec.data import CsvSource, JsonSource, Split

    if on is not None and on not in get_args(Split):
        path = Path(on)
        if not path.is_file():
            raise UsageError(f"--on {on}: neither a split nor a file", remedy="Choose train, validation or test.")
        files, root = (str(path.resolve()),), str(path.resolve().parent)
        if path.suffix == ".json":
            return JsonSource(source="json", files=files, root=root), path.stem
        delimiter = "\t" if path.suffix == ".tsv" else ","
        return CsvSource(source="csv", files=files, root=root, delimiter=delimiter), path.stem
    source: Source | None = getattr(experiment.data, section.on)
    if source is None:
        raise UsageError(f"the spec has no data.{section.on}", remedy="Choose another split with --on.")
    return source, section.on


def _keep(evaluation: object, subject: Subject, output: Path | None) -> None:
    from dataclasses import replace

    from cbalign.engine.files import write_durably
    from cbalign.evaluation.result import Evaluation, file_name

    assert isinstance(evaluation, Evaluation)
    if output is not None:
        write_durably(output, evaluation.to_json().encode())
    if subject.results is not None:
        subject.results.mkdir(exist_ok=True)
        for result in evaluation.results:
            one = replace(evaluation, results=(result,))
            write_durably(subject.results / file_name(result, subject.step), one.to_json().encode())
