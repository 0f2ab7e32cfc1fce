"""`cbalign evaluate`: the same protocols and the same table for a run and for its bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from cbalign.cli import console, offers
from cbalign.cli.options import device_option, json_option, require_option
from cbalign.cli.subject import Subject, open_subject
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
@click.argument("target", metavar="RUN|BUNDLE", type=click.Path(path_type=Path), shell_complete=offers.results)
@click.option(
    "--on", metavar="SPLIT|FILE", help="train, validation or test of the spec, or a file in a form that the task reads."
)
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice([name for names in _OF_KIND.values() for name in names]),
    help="Instead of the spec's.",
)
@click.option(
    "--zero-shot", is_flag=True, help="Call retrieval zero-shot; refused where the model's lineage saw the data set."
)
@click.option(
    "--top-k", type=click.IntRange(min=1), help="Candidates that rerank or rank score, instead of the spec's."
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Items per forward pass, instead of the spec's.")
@click.option("--bootstrap", type=click.IntRange(min=0), help="Resamples for the intervals, instead of the spec's.")
@device_option
@require_option
@click.option("--precision", help="Which graphs of a bundle, instead of the first that it lists.")
@click.option(
    "--predictions",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what the model says of every item to a file, in the form that the data set's own tools read.",
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
    """Measure a run's newest checkpoint, or an exported bundle: retrieval, or the accuracy of its task.

    Without options it measures what the spec's `evaluate` lists. Results of a run are kept in its folder evaluation/,
    with the rank or score of every item.
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    from cbalign.engine.files import write_durably
    from cbalign.evaluation.predictions import predictions_file
    from cbalign.evaluation.published import beside
    from cbalign.evaluation.result import Evaluation
    from cbalign.evaluation.scored import ScoredResult
    from cbalign.evaluation.table import format_table

    given = {
        "protocols": protocols or None,
        "zero_shot": zero_shot or None,
        "top_k": top_k,
        "batch_size": batch_size,
        "bootstrap": bootstrap,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    subject = open_subject(target, require or device, precision)
    results: list[Result] = []
    figures: list[Beside] = []
    for section in _sections(subject.experiment, subject.model, on, explicit=bool(protocols)):
        measured = _measure(subject, _changed(section, changes), on)
        names = _data(subject.experiment, section, on)[0].data_sets()
        results.extend(measured)
        task = subject.experiment.task.kind
        figures.extend(figure for result in measured for figure in beside(result, section.on, names, task))
    evaluation = Evaluation(
        subject=str(target),
        step=subject.step,
        backend=subject.backend,
        results=tuple(results),
        versions=installed(_PACKAGES),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if predictions is not None:
        write_durably(predictions, predictions_file(subject.experiment.task, results).encode())
        if skipped := sum(result.skipped for result in results if isinstance(result, ScoredResult)):
            console.note(f"warning: {predictions} lacks {skipped:,} items whose images cannot be read")
    _keep(evaluation, subject, output)
    if as_json:
        console.document({**evaluation.to_data(), "published": [asdict(figure) for figure in figures]})
        return
    step = "" if subject.step is None else f", step {subject.step}"
    console.result(f"{target}{step}, {subject.backend}\n\n{format_table(results)}")
    if figures:
        console.result("\n" + "\n".join(map(str, figures)))


def _changed(section: EvaluationSection, changes: Mapping[str, Any]) -> EvaluationSection:
    """The section with the options in place of its own settings."""
    names = {"protocols": "--protocol", "zero_shot": "--zero-shot", "top_k": "--top-k"}
    wrong = [names[name] for name in changes if name not in type(section).model_fields]
    if wrong:
        raise UsageError(f"{' and '.join(wrong)}: an evaluation of kind {section.kind} has no such setting")
    allowed, asked = _OF_KIND.get(section.kind, ()), changes.get("protocols", ())
    if other := [name for name in asked if name not in allowed]:
        raise UsageError(
            f"--protocol {other[0]}: an evaluation of kind {section.kind} has {', '.join(allowed)}",
        )
    return section.model_copy(update=changes)


def _sections(experiment: Experiment, model: Model, on: str | None, *, explicit: bool) -> tuple[EvaluationSection, ...]:
    """What to measure: the spec's list, its entries for one split, or its first entry on another split."""
    from cbalign.parts.kinds import Split

    if on is None:
        if not experiment.evaluate:
            raise UsageError("the spec lists nothing under `evaluate`", remedy="Name a split: --on test.")
        return experiment.evaluate
    if same := tuple(section for section in experiment.evaluate if section.on == on):
        return same
    split = on if on in get_args(Split) else "test"  # a file's items are renamed afterwards
    if experiment.evaluate:
        return (experiment.evaluate[0].model_copy(update={"on": split}),)
    return (_default_section(experiment, model, split, explicit=explicit),)


def _default_section(experiment: Experiment, model: Model, split: str, *, explicit: bool) -> EvaluationSection:
    """All that can be measured of a model whose spec lists nothing."""
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


def _measure(subject: Subject, section: EvaluationSection, on: str | None) -> tuple[Result, ...]:
    from cbalign.evaluation.measure import measure
    from cbalign.evaluation.sections.evaluations import RetrievalEvaluation
    from cbalign.tasks.lineage import refuse_seen

    data, name = _data(subject.experiment, section, on)
    if isinstance(section, RetrievalEvaluation) and section.zero_shot:
        doubt = refuse_seen(data, subject.lineage)
        if doubt is not None:
            console.note(f"warning: {doubt}")
    limit = subject.experiment.data.corrupt_limit
    with console.progress() as report:
        results = measure(subject.model, data, section, corrupt_limit=limit, report=report)
    return tuple(result.renamed(name) for result in results)


def _data(experiment: Experiment, section: EvaluationSection, on: str | None) -> tuple[SourceSection, str]:
    """The section's source and what tables call it."""
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
    """A split of this name that a source of the spec has beyond the three of every spec."""
    data = experiment.data
    for section in (data.test, data.validation, data.train):
        if section is not None and on in section.more_splits:
            return section.model_copy(update={"split": on})
    return None


def _keep(evaluation: Evaluation, subject: Subject, output: Path | None) -> None:
    from dataclasses import replace

    from cbalign.engine.files import write_durably
    from cbalign.evaluation.result import file_name

    if output is not None:
        write_durably(output, evaluation.to_json().encode())
    if subject.results is not None:
        subject.results.mkdir(exist_ok=True)
        for result in evaluation.results:
            one = replace(evaluation, results=(result,))
            write_durably(subject.results / file_name(result, subject.step), one.to_json().encode())
