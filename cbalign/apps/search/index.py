"""A folder's index, brought up to date: only files that are new or changed are read, only new pictures are encoded."""

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
from cbalign.data.image import prepare
from cbalign.encoders import FloatArray, PixelArray
from cbalign.engine.user_cache import user_cache
from cbalign.errors import DataError
from cbalign.runtime.images import decode_untrusted
from cbalign.runtime.session import Session

MAX_BYTES = 256 << 20
"""Larger files are not read."""

_KEEP_EVERY = 256  # files between two commits: what a killed process has to do again at most
_BATCH = 32

Report = Callable[[int, int], None]
"""Told of files done and files to do."""


@dataclass(frozen=True)
class Changes:
    """What an update found: `files` in all, of which `read`; `encoded` pictures; `removed` files; `links` passed over.

    `problems` says by path what is wrong with files and folders that could not be used.
    """

    files: int
    read: int
    encoded: int
    removed: int
    links: int
    problems: dict[str, str]


@dataclass(frozen=True)
class Index:
    """A folder as it can be searched."""

    folder: Path
    cache: Path
    contents: Contents
    changes: Changes


class ImageEmbedder(Protocol):
    """What an index needs of a model; a `Session` is one."""

    @property
    def image_size(self) -> int:
        """Side of the square images that it takes, in pixels."""

    def embed_images(self, pixels: PixelArray) -> FloatArray:
        """Unit vectors (B, d) of prepared images (B, H, W, 3)."""


def index_folder(
    model: ImageEmbedder,
    identity: str,
    folder: Path,
    cache: Path | None = None,
    report: Report = lambda done, total: None,
) -> Index:
    """Bring the index of a folder up to date and open it.

    An interrupted update keeps what it has done.

    Args:
        model: encodes the images.
        identity: equal for models that give the same vectors; each has an index of its own.
        folder: of the images.
        cache: where the indexes are; the user's cache folder when left out.
        report: told of progress.

    Raises:
        DataError: there is no such folder, or it has no images.
        StorageError: the index cannot be written.
    """
    found = scan(folder)
    place = (cache or user_cache("search")) / _key(identity, found.folder)
    with Store.open(place) as store:
        store.forget_problems(f"Pillow {PIL.__version__}")
        changes = _update(store, model, found, report)
        return Index(found.folder, place, store.contents(), changes)


def open_index(
    session: Session, folder: Path, cache: Path | None = None, report: Report = lambda done, total: None
) -> Index:
    """Bring the index of a folder for a bundle up to date and open it; see `index_folder`."""
    return index_folder(session, identity_of(session), folder, cache, report)


def identity_of(session: Session) -> str:
    """What decides the vectors of a bundle: the files of its image graph and its preprocessing."""
    files = session.bundle.manifest.files
    used = [
        name for name in files if name.startswith(f"{session.precision}/image.onnx") or name == "preprocessing.json"
    ]
    return "\0".join(f"{name} {files[name].sha256}" for name in sorted(used))


def _key(identity: str, folder: Path) -> str:
    return hashlib.sha256(os.fsencode(f"{identity}\0{os.fspath(folder)}")).hexdigest()[:32]


def _update(store: Store, model: ImageEmbedder, found: Scan, report: Report) -> Changes:
    before = store.files()
    changed = {path: stamp for path, stamp in found.images.items() if path not in before or before[path][0] != stamp}
    gone = [path for path in before if path not in found.images]
    if gone:
        store.remove(gone)
    unread: dict[str, str] = dict.fromkeys(found.closed, "the folder cannot be read")
    encoded = 0
    pending: list[Content] = []
    pictures = _read_all(found.folder, changed, store.digests(), unread, model.image_size)
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
    """A file that was read: `pixels` (H, W, 3) where its content is new and a picture."""

    path: str
    stamp: Stamp
    sha256: bytes
    pixels: PixelArray | None = None
    problem: str | None = None


def _read_all(
    folder: Path, changed: dict[str, Stamp], known: set[bytes], unread: dict[str, str], size: int
) -> Iterator[_Picture]:
    """Read files in their order, some ahead in threads: decoding takes longer than a GPU's part."""
    workers = min(8, os.cpu_count() or 1)
    ahead: deque[tuple[str, Future[_Picture]]] = deque()
    files = iter(changed.items())
    with ThreadPoolExecutor(workers, "cbalign-decode") as pool:
        try:
            while True:
                for path, stamp in files:
                    ahead.append((path, pool.submit(_read, folder, path, stamp, known, size)))
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


def _read(folder: Path, path: str, stamp: Stamp, known: set[bytes], size: int) -> _Picture:
    file = folder / path
    if stamp.size > MAX_BYTES:
        raise OSError(0, f"{stamp.size / 1e6:,.0f} MB, more than {MAX_BYTES >> 20} MiB are not read")
    data = file.read_bytes()
    digest = hashlib.sha256(data).digest()
    if digest in known:
        return _Picture(path, stamp, digest)
    try:
        return _Picture(path, stamp, digest, prepare(decode_untrusted(data, name=path), size))
    except DataError as error:
        return _Picture(path, stamp, digest, problem=error.message.removeprefix(f"{path}: "))
    except MemoryError:
        return _Picture(path, stamp, digest, problem="too large for the memory of this machine")


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
            vector, problem = None, "its embedding is not a number"
        yield Content(picture.path, picture.stamp, picture.sha256, vector, problem)
