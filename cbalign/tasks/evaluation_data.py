"""The data of the evaluations of a spec: a split of the task's data, or a source of the evaluation's own."""

from __future__ import annotations

from pathlib import Path

from cbalign.data.items import Item
from cbalign.data.source import Source, open_source
from cbalign.errors import DataError
from cbalign.experiment.experiment import Experiment
from cbalign.parts import EvaluationSection, SourceSection


def name_of_data(section: EvaluationSection) -> str:
    """Return the name of the data in the results: the split, or the file or folder without its suffix."""
    return section.on if section.own_data is None else Path(section.own_data).stem


def reads_split(section: EvaluationSection, experiment: Experiment) -> bool:
    """Whether an evaluation reads a split of the task's data, as items that the task learns from."""
    return section.own_data is None and section.items in (None, experiment.task.items)


def source_of_evaluation(section: EvaluationSection, experiment: Experiment) -> SourceSection | None:
    """Return the source of an evaluation; None if the spec does not have the split.

    Raises:
        DataError: the evaluation's own data do not exist.
        UsageError: no source reads them.
    """
    if section.own_data is not None:
        if not Path(section.own_data).exists():
            raise DataError(
                f"{section.own_data}: no such file or folder, which an evaluation of kind {section.kind} measures on",
                remedy="Name the data with `on=…`, or choose other evaluations with `kind=…`.",
            )
        return section.own_source()
    source: SourceSection | None = getattr(experiment.data, section.on)
    return source


def open_evaluation(section: EvaluationSection, experiment: Experiment) -> Source[Item]:
    """Open the source of an evaluation whose data exist; raises what `open_source` raises."""
    source = source_of_evaluation(section, experiment)
    assert source is not None, "the spec was validated"
    return open_source(source, section.items or experiment.task.items)


def splits_of_evaluations(experiment: Experiment) -> tuple[str, ...]:
    """Return the splits that evaluations read as items that the task learns from."""
    return tuple(dict.fromkeys(each.on for each in experiment.evaluate if reads_split(each, experiment)))


def key_of_source(section: EvaluationSection, experiment: Experiment) -> str:
    """Return the name of an evaluation's source among the sources of a training: its split, or a name of its own."""
    return section.on if reads_split(section, experiment) else f"{section.kind} {name_of_data(section)}"
