"""Computing the features of a source's images with a frozen tower, as far as they are not on disk yet."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cbalign.data.batches import in_batches
from cbalign.data.feature_store import FeatureStore, HalfArray, Key
from cbalign.data.items import Item
from cbalign.data.kept_features import ImageDigests, KeptFeatures
from cbalign.data.source import Source, image_of
from cbalign.data.views import Transform, ViewArray, generator_of_view
from cbalign.data.workers import ordered_map
from cbalign.engine.distribution import World
from cbalign.engine.reporter import format_seconds
from cbalign.errors import CbalignError, DataError, StorageError
from cbalign.models.tower import KeptFeatures as Kept
from cbalign.models.tower import VisionTower

BATCH = 32  # views per forward pass
SHARD_BYTES = 64 << 20
REPORT_SECONDS = 10.0

Note = Callable[[str], None]


@dataclass(frozen=True)
class Work:
    """An image whose features are missing, by its first item, and the views to compute."""

    index: int
    position: int
    digest: bytes
    views: tuple[int, ...]


@dataclass(frozen=True)
class Drawn:
    """The pixels of the views of an image, or the reason why there are none."""

    work: Work
    pixels: Sequence[ViewArray] = ()
    reason: str | None = None


@dataclass(frozen=True)
class DrawViews:
    """Decodes an image and makes its views; runs in worker processes."""

    source: Source[Item]
    transform: Transform

    def __call__(self, work: Work) -> Drawn:
        """Make the views (H, W, 3) of one image."""
        try:
            image = image_of(self.source, work.index, work.position)
        except DataError as error:
            return Drawn(work, reason=error.message)
        return Drawn(work, [self.transform(image, generator_of_view(work.digest, view)) for view in work.views])


@dataclass(frozen=True)
class FeatureWork:
    """Completes the features of sources.

    Args:
        tower: frozen, on its device.
        kept: what to keep of an image.
        store: where features are written.
        world: the processes that share the work.
        workers: processes that decode images, for each of these.
        note: shows messages.
    """

    tower: VisionTower
    kept: Kept
    store: FeatureStore
    world: World
    workers: int
    note: Note

    def complete(self, source: Source[Item], transform: Transform, views: Sequence[int]) -> KeptFeatures:
        """Return the features of some views of every image of a source; those that are missing are computed.

        Raises:
            StorageError: they cannot be written, on any process.
            DataError: a worker process was killed.
        """
        digests = self._digests(source)
        missing = _missing(digests, self.store, views)
        failure: CbalignError | None = None
        damaged: dict[bytes, str] = {}
        if missing:
            try:
                damaged = self._compute(source, transform, missing[self.world.rank :: self.world.size], len(missing))
            except CbalignError as error:  # the others must not wait for this process
                failure = error
        self.world.raise_first(failure)
        every = {digest: reason for each in self.world.collect(damaged) for digest, reason in each.items()}
        self.store.refresh()
        return KeptFeatures(self.store, digests, every)

    def _digests(self, source: Source[Item]) -> ImageDigests:
        """Hash the image files of a source; each process reads a share."""
        size = self.world.size
        shares = self.world.collect(ImageDigests.of(source, range(self.world.rank, len(source), size)))
        return ImageDigests(
            tuple(shares[index % size].items[index // size] for index in range(len(source))),
            {index: reason for share in shares for index, reason in share.unreadable.items()},
        )

    def _compute(
        self, source: Source[Item], transform: Transform, works: Sequence[Work], total: int
    ) -> dict[bytes, str]:
        damaged: dict[bytes, str] = {}
        writer = FeatureWriter(self.store, sum(len(work.views) for work in works), self.world.size)
        progress = _Progress(self.note, source.name, len(works), total)
        drawn = ordered_map(DrawViews(source, transform), works, self.workers)
        for batch in in_batches(_readable(drawn, damaged, progress), BATCH):
            pixels = torch.from_numpy(np.stack([pixels for _, pixels in batch])).permute(0, 3, 1, 2)
            features = self.tower.compute_features(pixels.to(self.tower.mean.device), self.kept)
            writer.add([key for key, _ in batch], features.cpu().numpy())
        writer.flush()
        progress.end()
        return damaged


class FeatureWriter:
    """Collects features and writes them in shards.

    Args:
        store: where to.
        expected: number of views that will be added.
        processes: that write at the same time.
        what: the tower in messages.
    """

    def __init__(self, store: FeatureStore, expected: int, processes: int, what: str = "image tower") -> None:
        self._store = store
        self._what = what
        self._expected = expected
        self._processes = processes
        self._keys: list[Key] = []
        self._features: list[HalfArray] = []
        self._bytes = 0
        self._checked = False

    def add(self, keys: Sequence[Key], features: HalfArray) -> None:
        """Add the features (n, …) of n views.

        Raises:
            StorageError: there is no space for all that are expected, or they cannot be written.
        """
        if not self._checked:
            self._check_space(features)
            self._checked = True
        self._keys += keys
        self._features.append(features)
        self._bytes += features.nbytes
        if self._bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was added.

        Raises:
            StorageError: it cannot be written.
        """
        if not self._keys:
            return
        try:
            self._store.write(self._keys, np.concatenate(self._features))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "the disk is full" if full else error.strerror or str(error)
            raise self._refusal(reason) from error
        self._keys, self._features, self._bytes = [], [], 0

    def _check_space(self, features: HalfArray) -> None:
        self._needed = features.nbytes // len(features) * self._expected * self._processes
        folder = _existing(self._store.folder)
        free = shutil.disk_usage(folder).free
        if self._needed > free:
            raise self._refusal(f"{free / 1e6:,.0f} MB are free")

    def _refusal(self, reason: str) -> StorageError:
        return StorageError(
            f"The features of the frozen {self._what} need {self._needed / 1e6:,.0f} MB in {self._store.folder}: "
            f"{reason}.",
            remedy="Free space, name a folder on another disk in CBALIGN_CACHE, or set train.feature_cache: off, "
            "which gives the same numbers. Lower data.augmentation.views to keep less.",
        )


class _Progress:
    """Shows the pace and the time left every few seconds."""

    def __init__(self, note: Note, name: str, own: int, total: int) -> None:
        self._note, self._name, self._own, self._total = note, name, own, total
        self._started = self._shown = time.monotonic()
        self._done = 0
        note(f"{name}: computing the features of {total:,} images once")

    def advance(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._shown >= REPORT_SECONDS:
            self._shown = now
            pace = self._done / (now - self._started)
            left = format_seconds((self._own - self._done) / pace)
            share = self._total / self._own
            self._note(
                f"{self._name}: features of {self._done * share:,.0f} of {self._total:,} images, "
                f"{pace * share:,.0f} images/s, ETA {left}"
            )

    def end(self) -> None:
        seconds = max(1e-9, time.monotonic() - self._started)
        if self._own:
            pace = self._total / seconds
            self._note(f"{self._name}: features computed in {format_seconds(seconds)}, {pace:,.0f} images/s")


def _missing(digests: ImageDigests, store: FeatureStore, views: Sequence[int]) -> list[Work]:
    """Each distinct image with the views that are not in the store."""
    works: dict[bytes, Work] = {}
    for index, images in enumerate(digests.items):
        for position, digest in enumerate(images):
            if digest in works:
                continue
            wanted = tuple(view for view in views if (digest, view) not in store)
            if wanted:
                works[digest] = Work(index, position, digest, wanted)
    return list(works.values())


def _readable(
    drawn: Iterator[Drawn], damaged: dict[bytes, str], progress: _Progress
) -> Iterator[tuple[Key, ViewArray]]:
    """Yield each view with its key; put the images that cannot be decoded into `damaged`."""
    for each in drawn:
        if each.reason is not None:
            damaged[each.work.digest] = each.reason
        yield from (((each.work.digest, view), pixels) for view, pixels in zip(each.work.views, each.pixels))
        progress.advance()


def _existing(folder: Path) -> Path:
    """The nearest folder above that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
