"""From a run to what can be exported, by its task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from cbalign.data.source import open_source
from cbalign.engine.run import Run
from cbalign.experiment.experiment import Experiment
from cbalign.export.alignment import AlignmentSubject
from cbalign.export.answering import AnsweringSubject
from cbalign.export.classifying import ClassifyingSubject
from cbalign.export.subject import Exportable
from cbalign.tasks.align.section import PretrainTask, RetrievalTask
from cbalign.tasks.entailment.section import EntailmentTask
from cbalign.tasks.load import load_answerer, load_classifier, load_encoder
from cbalign.tasks.nlvr2.section import NLVR2Task
from cbalign.tasks.vqa.section import VQATask


def open_subject(run: Run, experiment: Experiment, checkpoint: Path, report: Callable[[str], None]) -> Exportable:
    """The model of a checkpoint, with what it computes on real inputs.

    Raises:
        CheckpointError: the checkpoint is damaged.
        DataError: there are no readable images to compare on.
        UsageError: it is of a stage that is not exported.
    """
    data = experiment.data
    section = data.validation or data.test or data.train
    match experiment.task:
        case PretrainTask() | RetrievalTask():
            encoder = load_encoder(run.folder, checkpoint=checkpoint)
            report("computing with PyTorch")
            return AlignmentSubject.of(encoder, open_source(section, "pairs"))
        case VQATask():
            answerer = load_answerer(run.folder, checkpoint=checkpoint)
            report("computing with PyTorch")
            return AnsweringSubject.of(answerer, open_source(section, "questions"))
        case NLVR2Task():
            classifier = load_classifier(run.folder, checkpoint=checkpoint)
            report("computing with PyTorch")
            return ClassifyingSubject.of(classifier, open_source(section, "statements"))
        case EntailmentTask():
            classifier = load_classifier(run.folder, checkpoint=checkpoint)
            report("computing with PyTorch")
            return ClassifyingSubject.of(classifier, open_source(section, "premises"))
        case _:
            assert_never(experiment.task)


def describe_training(experiment: Experiment) -> str:
    """One line about the training data."""
    return open_source(experiment.data.train, experiment.task.items).describe()
