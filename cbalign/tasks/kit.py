"""The interface of a task to everything that trains, evaluates, plans and exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from cbalign.data.batch import TensorBatch
from cbalign.data.image import Preprocessing
from cbalign.data.text import Tokenizer, VocabularyInfo
from cbalign.engine.distribution import World
from cbalign.engine.run import RunFolder
from cbalign.engine.task import Learner, Training
from cbalign.experiment.experiment import Experiment
from cbalign.exporting.exportable import Exportable
from cbalign.parts.results import require_built
from cbalign.tasks.initialisation import Initialisation


class TorchModel(Protocol):
    """A trained PyTorch model that the task's evaluator can measure."""

    @property
    def module(self) -> nn.Module:
        """The PyTorch module, in evaluation mode."""

    @property
    def device(self) -> torch.device:
        """The model's device."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that it was trained with."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become its pixels."""


_MEMBERS = ("open_training", "build_model", "learner", "example_batch", "load", "exportable")


class TaskKit(Protocol):
    """Builds everything of one kind of task; `section.build()` returns it.

    `cbalign.tasks.standard.StandardKit` implements most of it for models of a student and a teacher.
    """

    def open_training(self, initialisation: Initialisation, world: World) -> Training[Any]:
        """Open the data and build the learner of an experiment.

        Raises:
            DataError: the data cannot be read.
            CheckpointError: the initial weights do not fit.
            UsageError: the experiment cannot be trained on these data.
        """

    def build_model(self, experiment: Experiment, vocabulary: VocabularyInfo, *, initialise: bool) -> nn.Module:
        """Build the model that is trained.

        Args:
            experiment: a complete spec.
            vocabulary: that of the tokenizer.
            initialise: whether to load the weights that the spec names; not needed if a checkpoint replaces them all.
        """

    def learner(
        self, experiment: Experiment, model: nn.Module, vocabulary: VocabularyInfo, world: World
    ) -> Learner[Any]:
        """Wrap a model from `build_model`, on its device, with its training step."""

    def example_batch(self, experiment: Experiment, text_length: int) -> TensorBatch:
        """Return a batch of `train.batch_size` items with texts of `text_length` tokens; only shapes matter."""

    def load(self, run: RunFolder, experiment: Experiment, checkpoint: Path, device: torch.device) -> TorchModel:
        """Load the model of a checkpoint in evaluation mode.

        Raises:
            CheckpointError: the checkpoint is damaged.
            UsageError: models of this task cannot be evaluated.
        """

    def exportable(self, model: Any, source: Any) -> Exportable:
        """Prepare a model from `load`, on the CPU, for export.

        Args:
            model: the trained model.
            source: items to compare the exported graphs on.

        Raises:
            DataError: no image can be read.
        """


def kit_of(experiment: Experiment) -> TaskKit:
    """Build the kit of an experiment's task."""
    kit: TaskKit = experiment.task.build()
    require_built(experiment.task, kit, _MEMBERS)
    return kit
