"""Select and run evaluations of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import ValidationError

from cbalign.data.progress import ProgressCallback, no_progress
from cbalign.data.source import fingerprint, open_source, source_of_file
from cbalign.engine.lineage import refuse_seen
from cbalign.errors import UsageError
from cbalign.evaluation.base import Result
from cbalign.evaluation.evaluator import evaluator_of, measured_by
from cbalign.evaluation.result import EvaluationDocument
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import settings
from cbalign.experiment.shapes import Leaf, Shape
from cbalign.experiment.unions import usable
from cbalign.parts import EvaluationSection, SourceSection
from cbalign.parts.kinds import Split
from cbalign.parts.registry import EVALUATIONS
from cbalign.tasks.evaluation_data import name_of_data, source_of_evaluation
from cbalign.tasks.opened import OpenedModel
from cbalign.tasks.stored_results import StoredResults


@dataclass(frozen=True)
class Measurement:
    """An evaluation and its results.

    Attributes:
        section: the settings of the evaluation.
        data: the source that it used.
        results: one result for each protocol.
        contents: fingerprint of the items; empty if results are neither looked up nor stored.
        stored: the documents that the results were read from; empty if they were measured now.
    """

    section: EvaluationSection
    data: SourceSection
    results: tuple[Result, ...]
    contents: str = ""
    stored: tuple[EvaluationDocument, ...] = ()


def evaluate_opened(
    opened: OpenedModel,
    on: str | None = None,
    changes: Mapping[str, Any] | None = None,
    *,
    kind: str | None = None,
    stored: StoredResults | None = None,
    again: bool = False,
    report: ProgressCallback = no_progress,
    warn: Callable[[str], None] = lambda text: None,
) -> list[Measurement]:
    """Run evaluations of a model.

    Args:
        opened: the model.
        on: a split of the spec, another split of its source, or a file or folder; None runs those of the spec.
        changes: settings that replace those of the evaluations, by name.
        kind: of the evaluations; None for all.
        stored: results of the model, which are not measured again.
        again: whether to measure them again.
        report: progress callback.
        warn: shows warnings.

    Raises:
        UsageError: there is nothing to evaluate, an evaluation has no such setting, or the model was trained on data
            that it is to be evaluated on zero-shot.
        DataError: the data cannot be read.
        DivergenceError: the model returns values that are not finite.
    """
    measured = []
    for section in chosen_sections(opened, on, kind, changes or {}):
        data, name = source_on(opened.experiment, section, on)
        if section.claims_zero_shot and (doubt := refuse_seen(data, opened.lineage)) is not None:
            warn(doubt)
        evaluator = evaluator_of(section)
        source = open_source(data, section.items or opened.experiment.task.items)
        contents = "" if stored is None else fingerprint(source)
        if stored is not None and not again and (documents := stored.find(section, data, contents, name)):
            found = tuple(result for document in documents for result in document.results)
            measured.append(Measurement(section, data, found, contents, documents))
            continue
        results = evaluator.evaluate(
            opened.model,
            source,
            corrupt_limit=opened.experiment.data.corrupt_limit,
            report=report,
        )
        named = tuple(result.renamed(name) for result in measured_by(evaluator, results))
        measured.append(Measurement(section, data, named, contents))
    return measured


def chosen_sections(
    opened: OpenedModel, on: str | None, kind: str | None, changes: Mapping[str, Any]
) -> tuple[EvaluationSection, ...]:
    """Choose evaluations and change their settings.

    Of several evaluations, those that have no such setting or value are left out.

    Args:
        opened: the model.
        on: see `evaluate_opened`.
        kind: of the evaluations; None for all that the spec lists. One that the spec does not list is made of the
            changes.
        changes: settings by name.

    Raises:
        UsageError: there is no such evaluation, or none has these settings.
    """
    if kind is not None and all(section.kind != kind for section in opened.experiment.evaluate):
        return (_made(opened.experiment, kind, on, changes),)
    found: list[EvaluationSection] = []
    refused: list[UsageError] = []
    for section in sections_on(opened, on, kind):
        try:
            found.append(changed(section, changes))
        except UsageError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return tuple(found)


def sections_on(opened: OpenedModel, on: str | None, kind: str | None = None) -> tuple[EvaluationSection, ...]:
    """Choose evaluations: the spec's list, its entries for one split, or its first entry on another split.

    Raises:
        UsageError: the spec lists none and no split is given.
    """
    listed = tuple(each for each in opened.experiment.evaluate if kind is None or each.kind == kind)
    if on is None:
        if not listed:
            raise UsageError("the spec lists nothing under `evaluate`", remedy='Choose a split: `on="test"`.')
        return listed
    if same := tuple(section for section in listed if name_of_data(section) == on):
        return same
    is_split = on in get_args(Split)
    split = on if is_split else "test"  # results on a file are renamed
    # Other data suit the evaluations best that read the task's own items.
    for section in sorted(listed, key=lambda each: (each.own_data is not None, each.items is not None)):
        if section.own_data is None or not is_split:
            return (section.model_copy(update={"on": split}),)
    return (opened.runtime.default_evaluation(opened.model, split),)  # type: ignore[arg-type]


def _made(experiment: Experiment, kind: str, on: str | None, changes: Mapping[str, Any]) -> EvaluationSection:
    """Make an evaluation that the spec does not list.

    Raises:
        UsageError: the task has no such kind of evaluation, or a setting is missing or wrong.
    """
    kinds = {name: cast(type[EvaluationSection], section) for name, section in usable(EVALUATIONS).items()}
    fitting = [name for name, each in kinds.items() if experiment.task.evaluation in (name, each.alongside)]
    if kind not in fitting:
        raise UsageError(
            f"`kind={kind}`: models of task {experiment.task.kind} are evaluated by {', '.join(fitting)}",
            remedy="Choose one of these kinds.",
        )
    section = kinds[kind]
    known = settings(section)
    values = {name: _listed(known[name].shape, value) if name in known else value for name, value in changes.items()}
    split = {"on": on} if on in get_args(Split) else {}
    try:
        return section.model_validate({"kind": kind, **split, **values})
    except ValidationError as error:
        mistake = error.errors()[0]
        place = ".".join(map(str, mistake["loc"]))
        raise UsageError(
            f"evaluation of kind {kind}: {f'{place}: ' if place else ''}{_without_prefix(mistake['msg'])}",
            remedy=f"`cbalign explain evaluate` lists the settings of {kind}.",
        ) from error


def _without_prefix(message: str) -> str:
    return message.removeprefix("Value error, ")


def changed(section: EvaluationSection, changes: Mapping[str, Any]) -> EvaluationSection:
    """Return a section with some settings replaced.

    A single value for a list means a list of it.

    Raises:
        UsageError: it has no such setting, or the setting no such value.
    """
    known = settings(type(section))
    if wrong := [f"`{name}=…`" for name in changes if name not in known]:
        raise UsageError(f"{' and '.join(wrong)}: an evaluation of kind {section.kind} has no such setting")
    values = {name: _listed(known[name].shape, value) for name, value in changes.items()}
    for name, value in values.items():
        allowed = _choices(known[name].shape)
        if allowed and (other := [each for each in value if each not in allowed]):
            raise UsageError(
                f"`{name}={other[0]}`: an evaluation of kind {section.kind} has {', '.join(map(str, allowed))}"
            )
    try:
        type(section).model_validate({**section.model_dump(), **values})
    except ValidationError as error:
        mistake = error.errors()[0]
        name = str(mistake["loc"][0]) if mistake["loc"] else ", ".join(values)
        shape = known[name].shape if name in known else None
        wanted = shape.wording() if isinstance(shape, Leaf) else mistake["msg"]
        raise UsageError(f"{name} must be {wanted}, not {values.get(name)!r}") from error
    return section.model_copy(update=values)


def source_on(experiment: Experiment, section: EvaluationSection, on: str | None) -> tuple[SourceSection, str]:
    """Return the source of an evaluation and its name in reports.

    Raises:
        UsageError: there is no such split or file.
    """
    if on is not None and on not in get_args(Split):
        if (further := _further_split(experiment, on)) is not None:
            return further, on
        path = Path(on)
        if not path.exists():
            raise UsageError(
                f"`on={on}`: neither a split nor a file or folder", remedy="Choose train, validation or test."
            )
        return source_of_file(path, section.items or experiment.task.items), path.stem
    source = source_of_evaluation(section, experiment)
    if source is None:
        raise UsageError(
            f"the spec has no data.{section.on}",
            remedy="Choose another split with `on=…`; in Python, cbalign.evaluate also takes pairs as `data`.",
        )
    return source, name_of_data(section)


def _listed(shape: Shape, value: Any) -> Any:
    """A list as the tuple that sections hold; a text for a list as a list of it."""
    if not isinstance(shape, Leaf) or shape.item is None:
        return value
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _choices(shape: Shape) -> tuple[str | int, ...]:
    """Return the choices of a setting that is a list of choices, else nothing."""
    return shape.item.choices if isinstance(shape, Leaf) and shape.item is not None else ()


def _further_split(experiment: Experiment, on: str) -> SourceSection | None:
    """Find a split that a source of the spec has in addition to train, validation and test."""
    data = experiment.data
    for section in (data.test, data.validation, data.train):
        if section is not None and on in section.more_splits:
            return section.model_copy(update={"split": on})
    return None
