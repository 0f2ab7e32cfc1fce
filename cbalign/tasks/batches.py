"""The batches of a training, as its spec describes them."""

from __future__ import annotations

from typing import TypeVar

from cbalign.data.batch import Collation, TensorBatch
from cbalign.data.loader import Loader
from cbalign.engine.distribution import World
from cbalign.experiment.experiment import Experiment

B = TypeVar("B", bound=TensorBatch)


def make_loader(collation: Collation[B], experiment: Experiment, world: World) -> Loader[B]:
    """This rank's batches of the training data, as the spec says.

    Raises:
        DataError: there are fewer items than one batch.
    """
    return Loader(
        collation,
        image_size=experiment.model.vision.image_size,
        batch_size=experiment.train.batch_size,
        augmentation=experiment.data.augmentation,
        seed=experiment.train.seed,
        workers=experiment.data.workers,
        corrupt_limit=experiment.data.corrupt_limit,
        rank=world.rank,
        world_size=world.size,
    )
