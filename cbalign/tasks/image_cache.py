"""A training whose frozen image tower is computed once: its loader and evaluations read kept features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, TypeVar

from torch import nn

from cbalign.data.augment import Augmentation, Unaugmented
from cbalign.data.batch import TensorBatch
from cbalign.data.feature_store import FeatureStore
from cbalign.data.kept_features import KeptViews, SourceWithFeatures
from cbalign.data.loader import Loader
from cbalign.data.source import Source
from cbalign.data.views import Transform, view_numbers
from cbalign.engine.distribution import World
from cbalign.engine.files import storage_errors
from cbalign.engine.step_schedule import build_step_schedule
from cbalign.experiment.experiment import Experiment
from cbalign.models.tower import KeptFeatures, VisionTower
from cbalign.tasks.feature_work import FeatureWork, Note
from cbalign.tasks.frozen_images import FeatureKey, kept_features

B = TypeVar("B", bound=TensorBatch)


def keep_features(model: nn.Module, experiment: Experiment) -> VisionTower | None:
    """Make a frozen image tower return what can be kept of its features, and return it; None if nothing can be kept."""
    kept = kept_features(experiment)
    if kept is None:
        return None
    tower = next(module for module in model.modules() if isinstance(module, VisionTower))
    tower.kept = kept
    return tower


def with_features(batch: B, tower: VisionTower) -> B:
    """Return a batch with the features of its images, as a training with kept features reads it."""
    assert tower.kept is not None, "keep_features set it"
    found = {}
    for name in ("images", "teacher_images"):
        images = getattr(batch, name, None)
        if images is not None:
            flat = images.flatten(0, -4)  # (B, 3, H, W) or (B, n, 3, H, W)
            features = tower.features(flat, tower.kept)
            found[name] = features.view(*images.shape[:-3], *features.shape[1:])
    return replace(batch, **found)


@dataclass
class ImageCache:
    """The features that one training keeps on disk.

    Args:
        tower: frozen, on its device; see `keep_features`.
        experiment: a complete spec.
        sources: the items of `train` and of each split that is evaluated.
        loader: of the training batches.
        world: the processes that train together.
    """

    tower: VisionTower
    experiment: Experiment
    sources: Mapping[str, Source[Any]]
    loader: Loader[Any]
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
        kept, data = self.tower.kept, self.experiment.data
        assert kept is not None, "keep_features set it"
        size = self.tower.image_size
        plain = Unaugmented(size)
        drawn: Transform = plain if data.augmentation is None else Augmentation.from_section(data.augmentation, size)
        work = self._work(kept, note, augmented=True)
        count = data.fixed_views or 1
        features = work.complete(self.sources["train"], drawn, self._views(count))
        self.loader.use(KeptViews(features, count, data.two_views))
        if self.experiment.evaluate:
            work = self._work(kept, note, augmented=False)
        for split in dict.fromkeys(section.on for section in self.experiment.evaluate):
            source = self.sources[split]
            self.evaluated[split] = SourceWithFeatures(source, work.complete(source, plain, (0,)))

    def _work(self, kept: KeptFeatures, note: Note, *, augmented: bool) -> FeatureWork:
        key = FeatureKey.of(self.tower, self.experiment, kept, augmented=augmented)
        store = FeatureStore(key.folder())
        if self.world.is_main:
            with storage_errors(store.folder):
                store.describe(key.about())
        return FeatureWork(self.tower, kept, store, self.world, self.experiment.data.workers, note)

    def _views(self, count: int) -> list[int]:
        """The views that the training uses, which may be shorter than there are views."""
        steps = build_step_schedule(
            self.experiment.train, batches_per_epoch=self.loader.steps_per_epoch, processes=self.world.size
        )
        epochs = ceil(steps.total_steps / steps.steps_per_epoch)
        two = self.experiment.data.two_views
        used = {view for epoch in range(epochs) for view in view_numbers(epoch, count, two_views=two)}
        return sorted(used)
