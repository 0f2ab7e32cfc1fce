"""Builds everything of the tasks `pretrain` and `retrieval`."""

from __future__ import annotations

import torch

from cbalign.data.batch import Batch, PairCollation
from cbalign.data.items import Pair
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer, VocabularyInfo
from cbalign.engine.distribution import World
from cbalign.experiment.experiment import Experiment
from cbalign.models.encoder import TorchEncoder
from cbalign.parts import TaskSection
from cbalign.tasks.align.exportable import AlignmentExportable
from cbalign.tasks.align.learner import AlignmentLearner
from cbalign.tasks.align.network import AlignmentModel, build_alignment
from cbalign.tasks.standard import TokenizerKit, example_fields
from cbalign.tasks.training import TokenizerAssets


class AlignmentKit(TokenizerKit[AlignmentModel]):
    """Implements `cbalign.tasks.kit.TaskKit`.

    Args:
        section: the task in a spec.
    """

    def __init__(self, section: TaskSection) -> None:
        self._section = section

    def build_model(self, experiment: Experiment, vocabulary: VocabularyInfo, *, initialise: bool) -> AlignmentModel:
        """Build towers and objectives, with their teacher."""
        return build_alignment(
            experiment.model,
            experiment.objectives.active(),
            vocabulary,
            legacy=experiment.legacy,
            initialise=initialise,
        )

    def learner(
        self, experiment: Experiment, model: AlignmentModel, vocabulary: VocabularyInfo, world: World
    ) -> AlignmentLearner:
        """Wrap the model with its training step."""
        return AlignmentLearner(
            model, experiment.objectives.active(), experiment.model.teacher, experiment.train.optimizer, world
        )

    def collation(self, source: Source[Pair], tokenizer: Tokenizer) -> PairCollation:
        """Return the collation of images with captions."""
        return PairCollation(source, tokenizer)

    def training_collation(self, experiment: Experiment, source: Source[Pair], tokenizer: Tokenizer) -> PairCollation:
        """Return the collation of images with as many captions as the spec says."""
        return PairCollation(source, tokenizer, experiment.data.captions_per_image)

    def evaluable(self, model: AlignmentModel, assets: TokenizerAssets, device: torch.device) -> TorchEncoder:
        """Return the model as an encoder."""
        return TorchEncoder(model, assets.tokenizer, device)

    def example_batch(self, experiment: Experiment, text_length: int) -> Batch:
        """Return images with their captions."""
        captions = experiment.data.captions_per_image
        image_ids = torch.arange(experiment.train.batch_size).repeat_interleave(captions)
        fields = dict(example_fields(experiment, text_length))
        texts = {name: fields[name].repeat_interleave(captions, dim=0) for name in ("input_ids", "attention_mask")}
        return Batch(**fields | texts | {"indices": image_ids}, image_ids=image_ids)

    def exportable(self, model: TorchEncoder, source: Source[Pair]) -> AlignmentExportable:
        """Prepare the model for export."""
        return AlignmentExportable.of(model, source)
