"""From an experiment to a task that can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_never

from cbalign.engine.distribution import World
from cbalign.engine.task import Task
from cbalign.experiment.experiment import Experiment
from cbalign.tasks.align.section import PretrainTask, RetrievalTask
from cbalign.tasks.entailment.section import EntailmentTask
from cbalign.tasks.nlvr2.section import NLVR2Task
from cbalign.tasks.start import Start, Tell
from cbalign.tasks.vqa.section import VQATask


def open_task(
    experiment: Experiment, world: World, *, assets: Path | None = None, tell: Tell = lambda line: None
) -> Task[Any]:
    """The task of an experiment, ready to train.

    Args:
        experiment: a complete spec.
        world: the processes that train together, and this one's device.
        assets: folder of a checkpoint to go on from: its tokenizer is used, and initial weights are not read
            because the checkpoint's replace them.
        tell: is told what was loaded of the model that `init` names.
    """
    start = Start.of(experiment, assets, tell)
    match experiment.task:
        case PretrainTask() | RetrievalTask():
            from cbalign.tasks.align.open import open_alignment

            return open_alignment(start, world)
        case EntailmentTask():
            from cbalign.tasks.entailment.learner import open_entailment

            return open_entailment(start, world)
        case NLVR2Task():
            from cbalign.tasks.nlvr2.learner import open_nlvr2

            return open_nlvr2(start, experiment.task, world)
        case VQATask():
            from cbalign.tasks.vqa.learner import open_vqa

            return open_vqa(start, experiment.task, world)
        case _:
            assert_never(experiment.task)
