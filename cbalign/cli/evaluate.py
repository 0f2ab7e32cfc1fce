"""`cbalign evaluate`: measure a run or its bundle with the same protocols and the same report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from cbalign.cli import completions, console
from cbalign.cli.open_model import OpenedModel, open_model
from cbalign.cli.options import device_option, json_option, require_option
from cbalign.errors import UsageError
from cbalign.runtime.machine import installed

if TYPE_CHECKING:
    from cbalign.evaluation.measure import Model
    from cbalign.evaluation.published import Beside
    from cbalign.evaluation.result import Evaluation, Result
    from cbalign.experiment.experiment import Experiment
    from cbalign.parts import EvaluationSection, SourceSection

_PROTOCOLS = ("dual", "rerank", "code")
_OF_KIND = {"retrieval": _PROTOCOLS, "vqa": ("rank", "generate")}
_PACKAGES = ("cbalign", "numpy", "Pillow", "tokenizers", "torch", "timm", "onnxruntime-gpu", "onnxruntime")


@click.command()
@click.argument("target", metavar="RUN|BUNDLE", type=click.Path(path_type=Path), shell_complete=completions.results)
@click.option("--on", metavar="SPLIT|FILE", help="train, validation or test of the spec, or a data file of the task.")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice([name for names in _OF_KIND.values() for name in names]),
    help="Override the spec's protocols. May be repeated.",
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
    from cbalign.evaluation.predictions import predictions_file
    from cbalign.evaluation.published import beside
    from cbalign.evaluation.result import Evaluation
    from cbalign.evaluation.scored import ScoredResult
    from cbalign.evaluation.table import result_blocks

    given = {
        "protocols": protocols or None,
        "zero_shot": zero_shot or None,
        "top_k": top_k,
        "batch_size": batch_size,
        "bootstrap": bootstrap,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    opened = open_model(target, require or device, precision)
    results: list[Result] = []
    figures: list[Beside] = []
    for section in _sections(opened.experiment, opened.model, on, explicit=bool(protocols)):
        measured = _measure(opened, _changed(section, changes), on)
        names = _data(opened.experiment, section, on)[0].data_sets()
        results.extend(measured)
        task = opened.experiment.task.kind
        figures.extend(figure for result in measured for figure in beside(result, section.on, names, task))
    evaluation = Evaluation(
        subject=str(target),
        step=opened.step,
        backend=opened.backend,
        results=tuple(results),
        versions=installed(_PACKAGES),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if predictions is not None:
        write_durably(predictions, predictions_file(opened.experiment.task, results).encode())
        if skipped := sum(result.skipped for result in results if isinstance(result, ScoredResult)):
            console.note(f"warning: {skipped:,} items with unreadable images are missing in {predictions}")
    _keep(evaluation, opened, output)
    if as_json:
        console.document({**evaluation.to_data(), "published": [asdict(figure) for figure in figures]})
        return
    step = "" if opened.step is None else f", step {opened.step}"
    published = ["\n".join(map(str, figures))] if figures else []
    console.blocks(f"{target}{step}, {opened.backend}", *result_blocks(results), *published)


def _changed(section: EvaluationSection, changes: Mapping[str, Any]) -> EvaluationSection:
    """Return the section with the options in place of its own settings."""
    names = {"protocols": "--protocol", "zero_shot": "--zero-shot", "top_k": "--top-k"}
    wrong = [names[name] for name in changes if name not in type(section).model_fields]
    if wrong:
        raise UsageError(f"{' and '.join(wrong)}: evaluations of kind {section.kind} have no such setting")
    allowed, asked = _OF_KIND.get(section.kind, ()), changes.get("protocols", ())
    if other := [name for name in asked if name not in allowed]:
        raise UsageError(
            f"--protocol {other[0]}: evaluations of kind {section.kind} support {', '.join(allowed)}",
        )
    return section.model_copy(update=changes)


def _sections(experiment: Experiment, model: Model, on: str | None, *, explicit: bool) -> tuple[EvaluationSection, ...]:
    """Choose what to measure: the spec's list, its entries for one split, or its first entry on another split."""
    from cbalign.parts.kinds import Split

    if on is None:
        if not experiment.evaluate:
            raise UsageError("the spec lists nothing under `evaluate`", remedy="Choose a split: --on test.")
        return experiment.evaluate
    if same := tuple(section for section in experiment.evaluate if section.on == on):
        return same
    split = on if on in get_args(Split) else "test"  # a file's items are renamed afterwards
    if experiment.evaluate:
        return (experiment.evaluate[0].model_copy(update={"on": split}),)
    return (_default_section(experiment, model, split, explicit=explicit),)


def _default_section(experiment: Experiment, model: Model, split: str, *, explicit: bool) -> EvaluationSection:
    """Everything that can be measured of a model whose spec lists no evaluation."""
    from cbalign.answering import Answerer
    from cbalign.encoders import Encoder
    from cbalign.evaluation.sections.evaluations import AccuracyEvaluation, RetrievalEvaluation, VQAEvaluation

    if isinstance(model, Answerer):
        return VQAEvaluation.model_validate({"kind": "vqa", "on": split})
    if not isinstance(model, Encoder):
        return AccuracyEvaluation.model_validate({"kind": "accuracy", "on": split})
    has = {"dual": True, "rerank": model.has_matcher, "code": model.has_codebook}
    protocols = tuple(name for name in _PROTOCOLS if has[name]) if not explicit else ("dual",)
    return RetrievalEvaluation.model_validate({"on": split, "protocols": protocols})


def _measure(opened: OpenedModel, section: EvaluationSection, on: str | None) -> tuple[Result, ...]:
    from cbalign.evaluation.measure import measure
    from cbalign.evaluation.sections.evaluations import RetrievalEvaluation
    from cbalign.tasks.lineage import refuse_seen

    data, name = _data(opened.experiment, section, on)
    if isinstance(section, RetrievalEvaluation) and section.zero_shot:
        doubt = refuse_seen(data, opened.lineage)
        if doubt is not None:
            console.note(f"warning: {doubt}")
    limit = opened.experiment.data.corrupt_limit
    with console.progress() as report:
        results = measure(opened.model, data, section, corrupt_limit=limit, report=report)
    return tuple(result.renamed(name) for result in results)


def _data(experiment: Experiment, section: EvaluationSection, on: str | None) -> tuple[SourceSection, str]:
    """Return the section's source and its name in reports."""
    from cbalign.data.source import source_of_file
    from cbalign.parts.kinds import Split

    if on is not None and on not in get_args(Split):
        if (further := _further_split(experiment, on)) is not None:
            return further, on
        path = Path(on)
        if not path.is_file():
            raise UsageError(f"--on {on}: neither a split nor a file", remedy="Choose train, validation or test.")
        return source_of_file(path, experiment.task.items), path.stem
    source: SourceSection | None = getattr(experiment.data, section.on)
    if source is None:
        raise UsageError(f"the spec has no data.{section.on}", remedy="Choose another split with --on.")
    return source, section.on


def _further_split(experiment: Experiment, on: str) -> SourceSection | None:
    """Find a split that a source of the spec has in addition to train, validation and test."""
    data = experiment.data
    for section in (data.test, data.validation, data.train):
        if section is not None and on in section.more_splits:
            return section.model_copy(update={"split": on})
    return None


def _keep(evaluation: Evaluation, opened: OpenedModel, output: Path | None) -> None:
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
