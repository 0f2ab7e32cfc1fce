"""Update and open the index of a folder: only new or changed files are read, and only new images are encoded."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL

from cbalign.apps.search.scan import Scan, Stamp, scan
from cbalign.apps.search.store import Content, Contents, Store
from cbalign.data.arrays import FloatArray, PixelArray
from cbalign.data.image import Preprocessing, prepare
from cbalign.errors import DataError
from cbalign.runtime.images import decode_untrusted
from cbalign.runtime.session import Session
from cbalign.runtime.user_cache import user_cache

MAX_BYTES = 256 << 20
"""Larger files are not read."""

_KEEP_EVERY = 256  # files between commits; a killed process repeats at most this many
_BATCH = 32

IndexProgress = Callable[[int, int], None]
"""Progress callback: `(done, total)` files."""


@dataclass(frozen=True)
class Changes:
    """Result of an update: number of `files`, files `read`, images `encoded`, files `removed`, and skipped `links`.

    `problems` maps unusable files and folders to the reason.
    """

    files: int
    read: int
    encoded: int
    removed: int
    links: int
    problems: dict[str, str]


@dataclass(frozen=True)
class SearchIndex:
    """The searchable index of a folder."""

    folder: Path
    cache: Path
    contents: Contents
    changes: Changes


class ImageEmbedder(Protocol):
    """Interface of a model for indexing, implemented by `Session`."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become its input."""

    def embed_images(self, pixels: PixelArray) -> FloatArray:
        """Embed prepared images (B, H, W, 3) as unit vectors (B, d)."""


def index_folder(
    model: ImageEmbedder,
    identity: str,
    folder: Path,
    cache: Path | None = None,
    report: IndexProgress = lambda done, total: None,
) -> SearchIndex:
    """Update the index of a folder and open it.

    An interrupted update keeps its progress.

    Args:
        model: model that encodes the images.
        identity: key of the index; equal for models that compute the same vectors.
        folder: folder of the images.
        cache: folder of the indexes; defaults to the user's cache folder.
        report: progress callback.

    Raises:
        DataError: the folder does not exist or has no images.
        StorageError: the index cannot be written.
    """
    found = scan(folder)
    place = (cache or user_cache("search")) / _key(identity, found.folder)
    with Store.open(place) as store:
        store.forget_problems(f"Pillow {PIL.__version__}")
        changes = _update(store, model, found, report)
        return SearchIndex(found.folder, place, store.contents(), changes)


def open_index(
    session: Session, folder: Path, cache: Path | None = None, report: IndexProgress = lambda done, total: None
) -> SearchIndex:
    """Update the index of a folder for a bundle and open it; see `index_folder`."""
    return index_folder(session, identity_of(session), folder, cache, report)


def identity_of(session: Session) -> str:
    """Return a key of everything that affects a bundle's vectors: the files of its image graph and preprocessing."""
    files = session.bundle.manifest.files
    used = [
        name for name in files if name.startswith(f"{session.precision}/image.onnx") or name == "preprocessing.json"
    ]
    return "\0".join(f"{name} {files[name].sha256}" for name in sorted(used))


def _key(identity: str, folder: Path) -> str:
    return hashlib.sha256(os.fsencode(f"{identity}\0{os.fspath(folder)}")).hexdigest()[:32]


def _update(store: Store, model: ImageEmbedder, found: Scan, report: IndexProgress) -> Changes:
    before = store.files()
    changed = {path: stamp for path, stamp in found.images.items() if path not in before or before[path][0] != stamp}
    gone = [path for path in before if path not in found.images]
    if gone:
        store.remove(gone)
    unread: dict[str, str] = dict.fromkeys(found.closed, "the folder cannot be read")
    encoded = 0
    pending: list[Content] = []
    pictures = _read_all(found.folder, changed, store.digests(), unread, model.preprocessing)
    for done, content in enumerate(_encode(model, pictures), 1):
        pending.append(content)
        encoded += content.vector is not None
        if len(pending) == _KEEP_EVERY:
            store.add(pending)
            pending = []
        report(done, len(changed))
    store.add(pending)
    problems = {**store.problems(), **unread}
    return Changes(len(found.images), len(changed), encoded, len(gone), found.links, problems)


@dataclass(frozen=True)
class _Picture:
    """A file that was read, with its `pixels` (H, W, 3) if it is a new image."""

    path: str
    stamp: Stamp
    sha256: bytes
    pixels: PixelArray | None = None
    problem: str | None = None


def _read_all(
    folder: Path, changed: dict[str, Stamp], known: set[bytes], unread: dict[str, str], preprocessing: Preprocessing
) -> Iterator[_Picture]:
    """Read files in order, prefetching in threads: decoding takes longer than encoding on a GPU."""
    workers = min(8, os.cpu_count() or 1)
    ahead: deque[tuple[str, Future[_Picture]]] = deque()
    files = iter(changed.items())
    with ThreadPoolExecutor(workers, "cbalign-decode") as pool:
        try:
            while True:
                for path, stamp in files:
                    ahead.append((path, pool.submit(_read, folder, path, stamp, known, preprocessing)))
                    if len(ahead) > 2 * workers:
                        break
                if not ahead:
                    return
                path, future = ahead.popleft()
                try:
                    picture = future.result()
                except OSError as error:
                    unread[path] = error.strerror or str(error)
                    continue
                if picture.sha256 in known:  # another file with this content came first
                    picture = _Picture(path, picture.stamp, picture.sha256)
                known.add(picture.sha256)
                yield picture
        finally:
            pool.shutdown(cancel_futures=True)


def _read(folder: Path, path: str, stamp: Stamp, known: set[bytes], preprocessing: Preprocessing) -> _Picture:
    file = folder / path
    if stamp.size > MAX_BYTES:
        raise OSError(0, f"{stamp.size / 1e6:,.0f} MB exceed the limit of {MAX_BYTES >> 20} MiB")
    data = file.read_bytes()
    digest = hashlib.sha256(data).digest()
    if digest in known:
        return _Picture(path, stamp, digest)
    try:
        return _Picture(path, stamp, digest, prepare(decode_untrusted(data, name=path), preprocessing))
    except DataError as error:
        return _Picture(path, stamp, digest, problem=error.message.removeprefix(f"{path}: "))
    except MemoryError:
        return _Picture(path, stamp, digest, problem="too large for this machine's memory")


def _encode(model: ImageEmbedder, pictures: Iterable[_Picture]) -> Iterator[Content]:
    batch: list[_Picture] = []
    for picture in pictures:
        batch.append(picture)
        if sum(p.pixels is not None for p in batch) == _BATCH or len(batch) == _KEEP_EVERY:
            yield from _encode_batch(model, batch)
            batch = []
    yield from _encode_batch(model, batch)


def _encode_batch(model: ImageEmbedder, batch: list[_Picture]) -> Iterator[Content]:
    new = [picture.pixels for picture in batch if picture.pixels is not None]
    vectors: Iterator[FloatArray] = iter(model.embed_images(np.stack(new))) if new else iter(())
    for picture in batch:
        vector = None if picture.pixels is None else next(vectors)
        problem = picture.problem
        if vector is not None and not np.isfinite(vector).all():
            vector, problem = None, "its embedding is NaN or infinite"
        yield Content(picture.path, picture.stamp, picture.sha256, vector, problem)
