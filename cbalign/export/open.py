"""From a run to what can be exported, by its task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cbalign.data.open_items import open_questions
from cbalign.data.source import open_source
from cbalign.engine.run import Run
from cbalign.errors import UsageError
from cbalign.export.alignment import AlignmentSubject
from cbalign.export.answering import AnsweringSubject
from cbalign.export.subject import Exportable
from cbalign.spec.experiment import Experiment
from cbalign.spec.task import PretrainTask, RetrievalTask, VQATask
from cbalign.tasks.load import load_answerer, load_encoder


def open_subject(run: Run, experiment: Experiment, checkpoint: Path, report: Callable[[str], None]) -> Exportable:
    """The model of a checkpoint, with what it computes on real inputs.

    Raises:
        CheckpointError: the checkpoint is damaged.
        DataError: there are no readable images to compare on.
        UsageError: there is no export for this task.
    """
    data = experiment.data
    section = data.validation or data.test or data.train
    match experiment.task:
        case PretrainTask() | RetrievalTask():
            encoder = load_encoder(run.folder, checkpoint=checkpoint)
            report("computing with PyTorch")
            return AlignmentSubject.of(encoder, open_source(section))
        case VQATask():
            answerer = load_answerer(run.folder, checkpoint=checkpoint)
            report("computing with PyTorch")
            return AnsweringSubject.of(answerer, open_questions(section))
        case _:
            raise UsageError(f"runs of task {experiment.task.kind} cannot be exported yet")


def describe_training(experiment: Experiment) -> str:
    """One line about the training data."""
    section = experiment.data.train
    opened = open_source(section) if experiment.task.items == "pairs" else open_questions(section)
    return opened.describe()
