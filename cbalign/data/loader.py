"""A loader that prefetches batches: a thread or worker processes build them, and they are delivered in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Generic, TypeVar

from cbalign.data.augment import Augmentation, Unaugmented
from cbalign.data.batch import Collation, TensorBatch
from cbalign.data.image import Preprocessing
from cbalign.data.samples import BuiltBatch, Sampler
from cbalign.data.workers import call_in_worker, worker_processes
from cbalign.errors import DataError
from cbalign.experiment.data import AugmentationSection

B = TypeVar("B", bound=TensorBatch)

_log = logging.getLogger(__name__)

_AHEAD = 2
_RESTARTS = 3


class Loader(Generic[B]):
    """Delivers this rank's batches, epoch after epoch; drops the incomplete last batch of an epoch.

    The batches are bit-identical for any number of workers and from any starting step; those of W ranks with B items
    are the slices of those of one rank with W·B.

    Args:
        collation: makes batches from the items of a source.
        preprocessing: how images become pixels.
        batch_size: items per rank and batch.
        augmentation: of the images; None gives the evaluation transform and one view.
        seed: of order, choices and augmentation.
        workers: processes that build batches; 0 for a thread of this process.
        corrupt_limit: share of the items whose images may be missing or corrupt; other items replace them.
        rank: this process among those that train together.
        world_size: number of these processes.

    Raises:
        DataError: there are fewer items than one global batch.
    """

    def __init__(
        self,
        collation: Collation[B],
        *,
        preprocessing: Preprocessing,
        batch_size: int,
        augmentation: AugmentationSection | None,
        seed: int,
        workers: int,
        corrupt_limit: float,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if augmentation is None:
            view: Augmentation | Unaugmented = Unaugmented(preprocessing)
        else:
            view = Augmentation.from_section(augmentation, preprocessing)
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
        self._workers = workers
        self._unreadable = self._sampler.no_unreadable()

    @property
    def steps_per_epoch(self) -> int:
        """Batches per rank in one epoch."""
        return self._sampler.steps_per_epoch

    @property
    def unreadable_images(self) -> int:
        """Number of items whose image was found missing or corrupt so far."""
        return self._unreadable.count

    def batches(self, start_step: int = 0) -> Iterator[B]:
        """Iterate over batches from step `start_step` on, without end; closing the iterator ends the workers.

        Raises:
            DataError: more images are unreadable than the limit allows, or workers are killed repeatedly.
        """
        step, deaths = start_step, 0
        while True:
            try:
                for built in self._ahead(step):
                    self._count(built)
                    yield built.batch
                    step, deaths = step + 1, 0
            except BrokenProcessPool as error:
                deaths += 1
                if deaths > _RESTARTS:
                    raise DataError(
                        f"data workers were killed {deaths} times in a row while building batch {step}",
                        remedy="They probably ran out of memory: lower data.workers.",
                    ) from error
                _log.warning("a data worker was killed while building batch %d; restarting the workers", step)

    def _ahead(self, step: int) -> Iterator[BuiltBatch[B]]:
        """Iterate over batches from `step` on; a few are built while one is used."""
        executor, build = self._executor()
        pending: deque[Future[BuiltBatch[B]]] = deque()
        try:
            while True:
                while len(pending) < _AHEAD + self._workers:
                    pending.append(executor.submit(build, step))
                    step += 1
                yield pending.popleft().result()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _executor(self) -> tuple[Executor, Callable[[int], BuiltBatch[B]]]:
        if self._workers == 0:
            return ThreadPoolExecutor(1, thread_name_prefix="cbalign-data"), self._sampler.build
        return worker_processes(self._workers, self._sampler.build), call_in_worker

    def _count(self, built: BuiltBatch[B]) -> None:
        for index, found in built.unreadable.items():
            if self._unreadable.add(index, found.reason):
                _log.warning("skipped: %s", found.reason)
