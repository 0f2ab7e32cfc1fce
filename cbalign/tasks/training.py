"""The training of a learner on its data, as used by `fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from cbalign.data.batch import Collation, TensorBatch
from cbalign.data.image import Preprocessing
from cbalign.data.items import Item
from cbalign.data.loader import Loader
from cbalign.data.source import Source, fingerprint, open_source
from cbalign.data.stored_images import StoredImages, pictures_fingerprint
from cbalign.data.text import Tokenizer
from cbalign.engine.distribution import World
from cbalign.engine.task import Learner, Progress
from cbalign.evaluation.evaluator import evaluator_of, measured_by
from cbalign.experiment.experiment import Experiment
from cbalign.models.momentum import teacher_parameters
from cbalign.tasks.changes import FINGERPRINTS, PICTURES
from cbalign.tasks.evaluation_data import key_of_source, name_of_data, open_evaluation
from cbalign.tasks.feature_cache import FeatureCache

B = TypeVar("B", bound=TensorBatch)


class Assets(Protocol):
    """Files that using a trained model needs besides its weights."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""

    def save(self, folder: Path) -> None:
        """Write all files into an existing folder."""

    def describe(self) -> Mapping[str, object]:
        """Return metadata for the run's manifest."""


@dataclass(frozen=True)
class TokenizerAssets:
    """The assets of most tasks: a tokenizer."""

    tokenizer: Tokenizer

    def save(self, folder: Path) -> None:
        """Write the tokenizer."""
        self.tokenizer.save(folder)

    def describe(self) -> Mapping[str, object]:
        """Return nothing besides what every run records."""
        return {}


@dataclass(frozen=True)
class DataTraining(Generic[B]):
    """Implements `cbalign.engine.task.Training`.

    Args:
        experiment: its evaluations are run.
        learner: the learner; its model on its device.
        loader: this rank's micro-batches.
        sources: the items of `train` and of each evaluation, by split or `key_of_source`.
        assets: files besides the weights.
        world: the processes that train together.
        evaluable: returns the model as its evaluator sees it.
        facts: further metadata for the run's manifest.
        cache: the features of frozen towers that are kept on disk.
    """

    experiment: Experiment
    learner: Learner[B]
    loader: Loader[B]
    sources: Mapping[str, Source[Any]]
    assets: Assets
    world: World
    evaluable: Callable[[], object]
    facts: Mapping[str, object] = field(default_factory=dict)
    cache: FeatureCache | None = None

    def prepare(self, note: Callable[[str], None]) -> None:
        """Compute the features that are kept on disk."""
        if self.cache is not None:
            self.cache.prepare(note)

    @property
    def batches_per_epoch(self) -> int:
        """Micro-batches per rank in one epoch."""
        return self.loader.steps_per_epoch

    def batches(self, start: int) -> Iterator[B]:
        """Yield micro-batches from number `start` on, without end."""
        return self.loader.batches(start)

    def evaluate(self, progress: Progress) -> Mapping[str, float]:
        """Run the evaluations of the spec, without intervals."""
        metrics: dict[str, float] = {}
        model = self.evaluable() if self.experiment.evaluate else None
        for section in self.experiment.evaluate:
            evaluator = evaluator_of(section.model_copy(update={"bootstrap": 0}))
            results = evaluator.evaluate(
                model,
                self._evaluated(key_of_source(section, self.experiment)),
                corrupt_limit=self.experiment.data.corrupt_limit,
                process_group=self.world,
            )
            for result in measured_by(evaluator, results):
                metrics |= {f"{name_of_data(section)}/{name}": value for name, value in result.flat().items()}
        return metrics

    def _evaluated(self, key: str) -> Source[Any]:
        kept = {} if self.cache is None else self.cache.evaluated
        return kept.get(key, self.sources[key])

    def describe(self) -> Mapping[str, object]:
        """Return parameter counts, the data with their fingerprints, and what the model starts from."""
        model = self.learner.model
        return {
            "parameters": {
                "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
                "teacher": sum(p.numel() for p in teacher_parameters(model)),
            },
            "vocabulary": self.assets.tokenizer.vocabulary_size,
            **self.assets.describe(),
            "data": {split: source.describe() for split, source in self.sources.items()},
            FINGERPRINTS: {split: fingerprint(source) for split, source in self.sources.items()},
            PICTURES: {
                split: pictures_fingerprint(source)
                for split, source in self.sources.items()
                if isinstance(source, StoredImages)
            },
            **self.facts,
        }

    def save_assets(self, folder: Path) -> None:
        """Write the tokenizer and what else the task needs."""
        self.assets.save(folder)


def open_splits(experiment: Experiment) -> dict[str, Source[Item]]:
    """Open the sources of `train`, of each split that an evaluation names, and of evaluations with data of their own.

    Raises:
        DataError: a file is missing, malformed or empty.
    """
    sources = {"train": open_source(experiment.data.train, experiment.task.items)}
    for section in experiment.evaluate:
        key = key_of_source(section, experiment)
        if key not in sources:
            sources[key] = open_evaluation(section, experiment)
    return sources


def make_loader(
    collation: Collation[B], experiment: Experiment, world: World, preprocessing: Preprocessing
) -> Loader[B]:
    """Build the loader of this rank's training batches, whose images are prepared for an image tower.

    Raises:
        DataError: there are fewer items than one batch.
    """
    return Loader(
        collation,
        preprocessing=preprocessing,
        batch_size=experiment.train.batch_size,
        augmentation=experiment.data.augmentation,
        seed=experiment.train.seed,
        workers=experiment.data.workers,
        corrupt_limit=experiment.data.corrupt_limit,
        rank=world.rank,
        world_size=world.size,
    )
