"""The common base of the kits of cbalign's own tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from cbalign.data.batch import Collation, TensorBatch
from cbalign.data.source import texts_of
from cbalign.data.text import Tokenizer, VocabularyInfo
from cbalign.engine.checkpoint import load_model_weights as load_weights
from cbalign.engine.distribution import World
from cbalign.engine.run import RunFolder
from cbalign.engine.task import Learner, Training
from cbalign.experiment.experiment import Experiment
from cbalign.exporting.exportable import Exportable
from cbalign.models.adapters import merge_adapters
from cbalign.models.preprocessing import preprocessing_of
from cbalign.models.weights import Alias
from cbalign.tasks.evaluation_data import source_of_evaluation
from cbalign.tasks.feature_cache import FeatureCache, FrozenTowers
from cbalign.tasks.initialisation import Initialisation
from cbalign.tasks.kit import TorchModel
from cbalign.tasks.training import Assets, DataTraining, TokenizerAssets, make_loader, open_splits

AssetsT = TypeVar("AssetsT", bound=Assets)
ModelT = TypeVar("ModelT", bound=nn.Module)


class StandardKit(ABC, Generic[ModelT, AssetsT]):
    """Implements `cbalign.tasks.kit.TaskKit` from the parts that a task defines.

    Args:
        section: the task in a spec.
    """

    aliases: ClassVar[Sequence[Alias]] = ()
    """Names of parts of the model that have another name in the model that `init` names."""

    @abstractmethod
    def build_model(self, experiment: Experiment, vocabulary: VocabularyInfo, *, initialise: bool) -> ModelT:
        """Build the model; see `TaskKit.build_model`."""

    @abstractmethod
    def learner(self, experiment: Experiment, model: Any, vocabulary: VocabularyInfo, world: World) -> Learner[Any]:
        """Wrap a model with its training step; see `TaskKit.learner`."""

    @abstractmethod
    def example_batch(self, experiment: Experiment, text_length: int) -> TensorBatch:
        """Return a batch of which only the shapes matter; see `TaskKit.example_batch`."""

    @abstractmethod
    def collation(self, source: Any, tokenizer: Tokenizer) -> Collation[Any]:
        """Return how items become batches."""

    def training_collation(self, experiment: Experiment, source: Any, tokenizer: Tokenizer) -> Collation[Any]:
        """Return how items become batches of a training, where that depends on the spec."""
        return self.collation(source, tokenizer)

    @abstractmethod
    def make_assets(self, initialisation: Initialisation, train: Any) -> AssetsT:
        """Build the assets of a new training, or read those of the checkpoint that it resumes from."""

    @abstractmethod
    def read_assets(self, folder: Path) -> AssetsT:
        """Read the assets that a training saved."""

    @abstractmethod
    def evaluable(self, model: ModelT, assets: AssetsT, device: torch.device) -> TorchModel:
        """Return a model, which lies on `device`, as its evaluator sees it."""

    @abstractmethod
    def exportable(self, model: Any, source: Any) -> Exportable:
        """Prepare a model for export; see `TaskKit.exportable`."""

    def initial_model(self, initialisation: Initialisation, vocabulary: VocabularyInfo) -> ModelT:
        """Build the model with the weights that it starts from."""
        experiment = initialisation.experiment
        # One seed for all ranks: they start from the same weights.
        torch.manual_seed(experiment.train.seed)
        model = self.build_model(experiment, vocabulary, initialise=initialisation.uses_published_weights)
        initialisation.load_into(model, self.aliases)
        return model

    def open_training(self, initialisation: Initialisation, world: World) -> Training[Any]:
        """Open the data and build the learner; see `TaskKit.open_training`."""
        experiment = initialisation.experiment
        for section in experiment.evaluate:
            if section.claims_zero_shot:
                data = source_of_evaluation(section, experiment)
                assert data is not None, "the spec was validated"
                initialisation.require_unseen(data)
        sources = open_splits(experiment)
        assets = self.make_assets(initialisation, sources["train"])
        vocabulary = assets.tokenizer.info
        model = self.initial_model(initialisation, vocabulary).to(world.device)
        collation = self.training_collation(experiment, sources["train"], assets.tokenizer)
        loader = make_loader(collation, experiment, world, preprocessing_of(model))
        frozen = FrozenTowers.of(model, experiment)
        return DataTraining(
            experiment,
            self.learner(experiment, model, vocabulary, world),
            loader,
            sources,
            assets,
            world,
            lambda: self.evaluable(model, assets, world.device),
            initialisation.describe(),
            FeatureCache(frozen, experiment, sources, collation, loader, assets.tokenizer, world),
        )

    def load(self, run: RunFolder, experiment: Experiment, checkpoint: Path, device: torch.device) -> TorchModel:
        """Load the model of a checkpoint; see `TaskKit.load`."""
        assets = self.read_assets(run.assets)
        model = self.build_model(experiment, assets.tokenizer.info, initialise=False)
        load_weights(model, checkpoint)
        merge_adapters(model)
        return self.evaluable(model.to(device).eval(), assets, device)


class TokenizerKit(StandardKit[ModelT, TokenizerAssets], Generic[ModelT]):
    """A kit of a task whose only asset is a tokenizer."""

    def make_assets(self, initialisation: Initialisation, train: Any) -> TokenizerAssets:
        """Build the tokenizer, on the texts of the training data if the spec says so."""
        return TokenizerAssets(initialisation.tokenizer(lambda: texts_of(train)))

    def read_assets(self, folder: Path) -> TokenizerAssets:
        """Read the tokenizer."""
        return TokenizerAssets(Tokenizer.load(folder))


def example_fields(experiment: Experiment, text_length: int, *images: int) -> Mapping[str, Any]:
    """Return the fields of an example batch that all tasks have.

    Args:
        experiment: sizes of batch and images.
        text_length: tokens of a text.
        images: number of images of an item; none for a batch without this dimension.
    """
    size, side = experiment.train.batch_size, experiment.model.vision.image_size
    shape = (size, *images, 3, side, side)
    return {
        "indices": torch.arange(size),
        "images": torch.empty(shape, dtype=torch.uint8),
        "teacher_images": torch.empty(shape, dtype=torch.uint8) if experiment.data.two_views else None,
        "input_ids": torch.zeros(size, text_length, dtype=torch.int64),
        "attention_mask": torch.ones(size, text_length, dtype=torch.int64),
    }
