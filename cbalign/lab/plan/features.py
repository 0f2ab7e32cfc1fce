"""What a frozen image tower costs where its features are kept on disk: once for each view of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from cbalign.experiment.experiment import Experiment
from cbalign.lab.plan.step import leave_meta
from cbalign.tasks.feature_cache import FrozenTowers, with_features
from cbalign.tasks.kit import kit_of


@dataclass(frozen=True)
class FeatureCost:
    """The features that are kept; what depends on the size of unknown data is None.

    Args:
        views: of each image of the training data.
        bytes_per_view: on disk.
        operations_per_view: of the tower's forward pass.
        images: at most so many images of the training data, and in `evaluated` of the evaluated splits.
    """

    views: int
    bytes_per_view: int
    operations_per_view: int
    images: int | None
    evaluated: int | None

    @property
    def count(self) -> int | None:
        """All views that are computed."""
        return None if self.images is None else self.images * self.views + (self.evaluated or 0)

    @property
    def bytes(self) -> int | None:
        """The size on disk."""
        return None if self.count is None else self.count * self.bytes_per_view

    @property
    def operations(self) -> int | None:
        """Floating-point operations, once."""
        return None if self.count is None else self.count * self.operations_per_view

    def to_json(self) -> dict[str, object]:
        """The same as plain data."""
        return {**self.__dict__, "bytes": self.bytes, "operations": self.operations}


def measure_features(
    experiment: Experiment, model: nn.Module, *, items: int | None, evaluated: int | None
) -> FeatureCost | None:
    """Count what the kept features of a training cost; None if there are none.

    Args:
        experiment: a complete spec.
        model: on the meta device; it is on a fake CPU afterwards.
        items: of the training data; None if they are not known.
        evaluated: items of the splits that are evaluated.
    """
    if experiment.train.feature_cache == "off":
        return None
    with FakeTensorMode(allow_non_fake_inputs=True):
        towers = FrozenTowers(FrozenTowers.of(model, experiment).vision, None)
        if towers.vision is None:
            return None
        leave_meta(model)
        model.train()
        batch: Any = kit_of(experiment).example_batch(experiment, 8)  # of any task: all have images
        each = batch.images.shape[:-3].numel()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            kept = with_features(batch, towers).images
    passes = 1 if batch.teacher_images is None else 2
    per_item = each // experiment.train.batch_size
    return FeatureCost(
        views=experiment.data.fixed_views or 1,
        bytes_per_view=kept.numel() * kept.element_size() // each,
        operations_per_view=counter.get_total_flops() // (each * passes),
        images=None if items is None else items * per_item,
        evaluated=None if evaluated is None else evaluated * per_item,
    )
