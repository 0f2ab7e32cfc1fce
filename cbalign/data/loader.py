"""Batches ahead of time: built by a background thread or by worker processes, delivered in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Generic, TypeVar

from cbalign.data.augment import Augmentation, Unaugmented
from cbalign.data.batch import TensorBatch
from cbalign.data.collate import Collation
from cbalign.data.samples import Built, Sampler
from cbalign.data.workers import call_in_worker, worker_processes
from cbalign.errors import DataError
from cbalign.experiment.data import AugmentationSection

B = TypeVar("B", bound=TensorBatch)

_log = logging.getLogger(__name__)

_AHEAD = 2
_RESTARTS = 3


class Loader(Generic[B]):
    """This rank's batches of items, epoch after epoch, the last incomplete batch of each dropped.

    The batches are the same, bit for bit, for any number of workers and from any starting step; those of W ranks
    with B items are the slices of those of one rank with W·B.

    Args:
        collation: the items, and how batches are made of them.
        batch_type: of the batches, with the fields of what `collation` makes.
        image_size: side of the images in pixels.
        batch_size: items per rank and batch.
        augmentation: what happens to an image; None gives the evaluation transform and one view.
        seed: of order, choices and augmentation.
        workers: processes that build batches; 0 is one thread of this process.
        corrupt_limit: share of the items whose images may be missing or corrupt; others stand in for them.
        rank: which of the processes that train together this is.
        world_size: how many processes train together.

    Raises:
        DataError: there are fewer items than one global batch.
    """

    def __init__(
        self,
        collation: Collation,
        batch_type: type[B],
        *,
        image_size: int,
        batch_size: int,
        augmentation: AugmentationSection | None,
        seed: int,
        workers: int,
        corrupt_limit: float,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if augmentation is None:
            view: Augmentation | Unaugmented = Unaugmented(image_size)
        else:
            view = Augmentation.from_section(augmentation, image_size)
        self._sampler = Sampler(
            collation,
            view,
            two_views=augmentation is not None and augmentation.two_views,
            batch_size=batch_size,
            seed=seed,
            corrupt_limit=corrupt_limit,
            rank=rank,
            world_size=world_size,
        )
        self._batch_type = batch_type
        self._workers = workers
        self._unreadable: dict[int, str] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Batches per rank in one epoch."""
        return self._sampler.steps_per_epoch

    @property
    def unreadable_images(self) -> int:
        """Of how many items an image was found missing or corrupt so far."""
        return len(self._unreadable)

    def batches(self, start_step: int = 0) -> Iterator[B]:
        """Batches from step `start_step` on, without end; close the iterator to end its workers.

        Raises:
            DataError: more images are unreadable than the limit allows, or workers die again and again.
        """
        step, deaths = start_step, 0
        while True:
            try:
                for built in self._ahead(step):
                    self._count(built)
                    yield self._batch_type.of(built.arrays)
                    step, deaths = step + 1, 0
            except BrokenProcessPool as error:
                deaths += 1
                if deaths > _RESTARTS:
                    raise DataError(
                        f"The data workers were killed {deaths} times in a row while building batch {step}.",
                        remedy="Often memory is short: set data.workers lower.",
                    ) from error
                _log.warning("a data worker was killed while building batch %d; starting workers again", step)

    def _ahead(self, step: int) -> Iterator[Built]:
        """Batches from `step` on, a few batches being built while one is used."""
        executor, build = self._executor()
        pending: deque[Future[Built]] = deque()
        try:
            while True:
                while len(pending) < _AHEAD + self._workers:
                    pending.append(executor.submit(build, step))
                    step += 1
                yield pending.popleft().result()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _executor(self) -> tuple[Executor, Callable[[int], Built]]:
        if self._workers == 0:
            return ThreadPoolExecutor(1, thread_name_prefix="cbalign-data"), self._sampler.build
        return worker_processes(self._workers, self._sampler.build), call_in_worker

    def _count(self, built: Built) -> None:
        for index, message in built.unreadable.items():
            if index not in self._unreadable:
                self._unreadable[index] = message
                _log.warning("skipped: %s", message)
        self._sampler.check(self._unreadable)
