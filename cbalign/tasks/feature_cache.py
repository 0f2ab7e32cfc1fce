"""A training whose frozen towers are computed once: its loader and evaluations read kept features."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, TypeVar

from torch import Tensor, nn

from cbalign.data.augment import Augmentation, Unaugmented
from cbalign.data.batch import Batch, Collation, PairCollation, TensorBatch
from cbalign.data.feature_store import FeatureStore
from cbalign.data.kept_features import KeptViews, SourceWithFeatures
from cbalign.data.loader import Loader
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer
from cbalign.data.views import Transform, view_numbers
from cbalign.engine.distribution import World
from cbalign.engine.files import storage_errors
from cbalign.engine.step_schedule import build_step_schedule
from cbalign.errors import StorageError
from cbalign.experiment.experiment import Experiment
from cbalign.models.tower import TextTower, VisionTower
from cbalign.tasks.evaluation_data import splits_of_evaluations
from cbalign.tasks.feature_work import FeatureWork, Note
from cbalign.tasks.frozen_features import FeatureKey, kept_features, kept_texts
from cbalign.tasks.text_work import TextWork

B = TypeVar("B", bound=TensorBatch)


@dataclass(frozen=True)
class FrozenTowers:
    """The frozen towers of a model whose features can be kept."""

    vision: VisionTower | None
    text: TextTower | None

    @classmethod
    def of(cls, model: nn.Module, experiment: Experiment) -> FrozenTowers:
        """Find them, and make them return their features as they are kept."""
        images, texts = kept_features(experiment), kept_texts(experiment)
        vision = text = None
        for module in model.modules():
            if images is not None and isinstance(module, VisionTower):
                module.kept, vision = images, module
            if texts is not None and isinstance(module, TextTower):
                module.kept, text = texts, module
        return cls(vision, text)


def with_features(batch: B, towers: FrozenTowers) -> B:
    """Return a batch with the features of its images and captions, as a training with kept features reads it."""
    found: dict[str, Tensor] = {}
    vision, text = towers.vision, towers.text
    for name in ("images", "teacher_images"):
        images = getattr(batch, name, None)
        if images is not None and vision is not None and vision.kept is not None:
            flat = images.flatten(0, -4)  # (B, 3, H, W) or (B, n, 3, H, W)
            features = vision.compute_features(flat, vision.kept)
            found[name] = features.view(*images.shape[:-3], *features.shape[1:])
    if isinstance(batch, Batch) and text is not None and text.kept is not None:
        found["text_features"] = text.compute_features(batch.input_ids, batch.attention_mask, text.kept)
    return replace(batch, **found)


@dataclass
class FeatureCache:
    """The features of frozen towers that one training keeps on disk.

    Args:
        towers: on their device.
        experiment: a complete spec.
        sources: the items of `train` and of each split that is evaluated.
        collation: of the training data.
        loader: of the training batches.
        tokenizer: of the captions.
        world: the processes that train together.
    """

    towers: FrozenTowers
    experiment: Experiment
    sources: Mapping[str, Source[Any]]
    collation: Collation[Any]
    loader: Loader[Any]
    tokenizer: Tokenizer
    world: World
    evaluated: dict[str, Source[Any]] = field(default_factory=dict)

    def prepare(self, note: Note) -> None:
        """Compute the features that are missing, and let loader and evaluations read them.

        Raises:
            StorageError: they cannot be written.
            DataError: a worker process was killed.
        """
        if self.experiment.train.feature_cache == "off":
            return
        if self.towers.vision is not None:
            self._prepare_images(self.towers.vision, note)
        if self.towers.text is not None and isinstance(self.collation, PairCollation):
            self._prepare_texts(self.towers.text, self.collation, note)

    def _prepare_images(self, tower: VisionTower, note: Note) -> None:
        data = self.experiment.data
        plain = Unaugmented(tower.preprocessing)
        drawn: Transform = plain
        if data.augmentation is not None:
            drawn = Augmentation.from_section(data.augmentation, tower.preprocessing)
        work = self._image_work(tower, note, augmented=True)
        count = data.fixed_views or 1
        features = work.complete(self.sources["train"], drawn, self._views(count))
        self.loader.use(KeptViews(features, count, data.two_views))
        splits = splits_of_evaluations(self.experiment)
        if splits:
            work = self._image_work(tower, note, augmented=False)
        for split in splits:
            source = self.sources[split]
            self.evaluated[split] = SourceWithFeatures(source, work.complete(source, plain, (0,)))

    def _prepare_texts(self, tower: TextTower, collation: PairCollation, note: Note) -> None:
        assert tower.kept is not None, "FrozenTowers set it"
        store = self._store(FeatureKey.of_texts(tower, self.experiment))
        work = TextWork(tower, tower.kept, self.tokenizer, store, self.world, note)
        collation.texts = work.complete(self.sources["train"])

    def _image_work(self, tower: VisionTower, note: Note, *, augmented: bool) -> FeatureWork:
        assert tower.kept is not None, "FrozenTowers set it"
        store = self._store(FeatureKey.of_images(tower, self.experiment, augmented=augmented))
        return FeatureWork(tower, tower.kept, store, self.world, self.experiment.data.workers, note)

    def _store(self, key: FeatureKey) -> FeatureStore:
        store, world = FeatureStore(key.folder()), self.world
        failure, sign = None, store.folder / f".unfinished-sign-{uuid.uuid4().hex[:8]}"
        if world.is_main:
            try:
                with storage_errors(store.folder):
                    store.describe(key.about())
                    sign.touch()
            except StorageError as error:  # the others must not wait for this process
                failure = error
        if (failure := world.share(failure)) is not None:
            raise failure
        apart = world.any(not world.share(sign).exists())
        if world.is_main:
            sign.unlink(missing_ok=True)
        if apart:
            raise StorageError(
                f"Not all processes of this training see the same folder {store.folder}, in which they keep features.",
                remedy="Name a folder that all machines share in CBALIGN_CACHE, or set train.feature_cache: off, which "
                "gives the same numbers.",
            )
        return store

    def _views(self, count: int) -> list[int]:
        """The views that the training uses, which may be shorter than there are views."""
        steps = build_step_schedule(
            self.experiment.train, batches_per_epoch=self.loader.steps_per_epoch, processes=self.world.size
        )
        epochs = ceil(steps.total_steps / steps.steps_per_epoch)
        two = self.experiment.data.two_views
        used = {view for epoch in range(epochs) for view in view_numbers(epoch, count, two_views=two)}
        return sorted(used)
