"""Builds everything of the task `nlvr2`, in both of its stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import torch

from cbalign.data.batch import Batch, PairCollation
from cbalign.data.items import STATEMENT_LABELS, Pair
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer, VocabularyInfo
from cbalign.engine.distribution import World
from cbalign.engine.run import RunFolder
from cbalign.errors import UsageError
from cbalign.experiment.experiment import Experiment
from cbalign.models.momentum import Distilled
from cbalign.tasks.classification.kit import ClassificationKit
from cbalign.tasks.initialisation import Initialisation
from cbalign.tasks.nlvr2.learner import TextAssignmentLearner
from cbalign.tasks.nlvr2.network import (
    ImagePairNetwork,
    TextAssignmentNetwork,
    build_image_pairs,
    build_text_assignment,
)
from cbalign.tasks.nlvr2.section import NLVR2Task
from cbalign.tasks.standard import TokenizerKit, example_fields
from cbalign.tasks.training import TokenizerAssets

FROM_FUSION = (("fusion.first.", "fusion.layers."), ("fusion.second.", "fusion.layers."))
"""Both copies of every layer take the pretrained one, if the model to start from has it once."""


def build_kit(section: NLVR2Task) -> StatementKit | TextAssignmentKit:
    """Build the kit of the section's stage."""
    return TextAssignmentKit() if section.stage == "text-assignment" else StatementKit(section)


class StatementKit(ClassificationKit[ImagePairNetwork]):
    """Implements `cbalign.tasks.kit.TaskKit` for the stage `statements`."""

    labels = STATEMENT_LABELS
    images = 2
    aliases = FROM_FUSION

    def build_model(
        self, experiment: Experiment, vocabulary: VocabularyInfo, *, initialise: bool
    ) -> Distilled[ImagePairNetwork]:
        """Build towers, doubled fusion layers and classifier, with their teacher."""
        return build_image_pairs(experiment.model, vocabulary.size, initialise=initialise)

    def initial_model(self, initialisation: Initialisation, vocabulary: VocabularyInfo) -> Distilled[ImagePairNetwork]:
        """Build the model with the weights that it starts from."""
        model = super().initial_model(initialisation, vocabulary)
        experiment = initialisation.experiment
        if (
            experiment.legacy.untrained_statement_teacher
            and experiment.model.teacher.enabled
            and initialisation.assets is None
        ):
            model.teacher.network.load_state_dict(_untrained(experiment, vocabulary.size).student.state_dict())
        return model


class TextAssignmentKit(TokenizerKit[Distilled[TextAssignmentNetwork]]):
    """Implements `cbalign.tasks.kit.TaskKit` for the stage `text-assignment`, which is not evaluated."""

    aliases = FROM_FUSION

    def build_model(
        self, experiment: Experiment, vocabulary: VocabularyInfo, *, initialise: bool
    ) -> Distilled[TextAssignmentNetwork]:
        """Build towers, doubled fusion layers and assignment head, with their teacher."""
        return build_text_assignment(experiment.model, vocabulary.size, initialise=initialise)

    def learner(
        self,
        experiment: Experiment,
        model: Distilled[TextAssignmentNetwork],
        vocabulary: VocabularyInfo,
        world: World,
    ) -> TextAssignmentLearner:
        """Wrap the model with its training step."""
        return TextAssignmentLearner(model, experiment.model.teacher, experiment.train.optimizer, world)

    def collation(self, source: Source[Pair], tokenizer: Tokenizer) -> PairCollation:
        """Return the collation of images with captions."""
        return PairCollation(source, tokenizer)

    def example_batch(self, experiment: Experiment, text_length: int) -> Batch:
        """Return images with one caption each."""
        image_ids = torch.arange(experiment.train.batch_size)
        return Batch(**example_fields(experiment, text_length), image_ids=image_ids)

    def load(self, run: RunFolder, experiment: Experiment, checkpoint: Path, device: torch.device) -> NoReturn:
        """Refuse: the stage is not evaluated.

        Raises:
            UsageError: always.
        """
        raise _not_evaluated()

    def evaluable(
        self, model: Distilled[TextAssignmentNetwork], assets: TokenizerAssets, device: torch.device
    ) -> NoReturn:
        """Refuse; see `load`."""
        raise _not_evaluated()

    def exportable(self, model: Any, source: Any) -> NoReturn:
        """Refuse; see `load`."""
        raise _not_evaluated()


def _not_evaluated() -> UsageError:
    return UsageError(
        "the text-assignment stage of nlvr2 cannot be evaluated",
        remedy="Fine-tune from it: a spec with task: {kind: nlvr2} and init: {run: …}.",
    )


def _untrained(experiment: Experiment, vocabulary: int) -> Distilled[ImagePairNetwork]:
    """Build the model as ALBEF's NLVR.py does before it loads a checkpoint: BERT's weights, the rest at random."""
    vision = experiment.model.vision.without_weights()
    return build_image_pairs(experiment.model.model_copy(update={"vision": vision}), vocabulary)
