"""Features of images on disk: float16 arrays by the digest of an image file and the number of its view.

    FOLDER/
      about.json                 what the features were computed with, for people
      shard-….safetensors        `features` (n, …) float16, `digests` (n, 16) uint8, `views` (n,) int32

A shard is written under a temporary name and renamed, so that it is complete wherever it exists, several trainings can
write into one folder, and a kill costs the shard that was being written only. Shards have a checksum; a damaged one is
removed, and its features are computed again. Features are read through memory maps.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import time
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

HalfArray: TypeAlias = NDArray[np.float16]
Key: TypeAlias = tuple[bytes, int]
"""The digest of an image file, and the number of a view."""

_CHECKSUM = "crc32"
_CHUNK = 1 << 24
_UNFINISHED = ".unfinished-"
_ABANDONED_SECONDS = 24 * 3600.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Shard:
    """The features of a shard: where they begin in the file, and their shape."""

    path: Path
    offset: int
    shape: tuple[int, ...]

    def open(self) -> HalfArray:
        return np.memmap(self.path, np.float16, "r", self.offset, self.shape)


class FeatureStore:
    """The features in one folder.

    Args:
        folder: created with the first features; may not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: list[_Shard] = []
        self._rows: dict[Key, tuple[int, int]] = {}  # shard, row in it
        self._maps: dict[int, HalfArray] = {}
        self.refresh()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def keys(self) -> Sequence[Key]:
        """Return the keys of all features."""
        return list(self._rows)

    def __getitem__(self, key: Key) -> HalfArray:
        """Return the features of a view, (N, D) or (D,); raises `KeyError` if they are missing."""
        shard, row = self._rows[key]
        if shard not in self._maps:
            self._maps[shard] = self._shards[shard].open()
        return self._maps[shard][row]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_maps": {}}  # a worker process opens its own

    def refresh(self) -> None:
        """Read the shards that were added, by this process or another, and remove damaged ones."""
        known = {shard.path for shard in self._shards}
        for path in sorted(self.folder.glob("shard-*.safetensors")):
            if path not in known:
                self._add(path)

    def write(self, keys: Sequence[Key], features: HalfArray) -> None:
        """Add the features (n, …) of n views as one shard.

        Raises:
            OSError: it cannot be written; nothing remains of it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"shard-{uuid.uuid4().hex[:16]}.safetensors"
        temporary = self.folder / f"{_UNFINISHED}{name}"
        whole = np.ascontiguousarray(features)
        tensors: dict[str, NDArray[Any]] = {
            "features": whole,
            "digests": np.frombuffer(b"".join(digest for digest, _ in keys), np.uint8).reshape(len(keys), -1),
            "views": np.array([view for _, view in keys], np.int32),
        }
        try:
            checksum = 0
            for tensor in tensors.values():
                checksum = zlib.crc32(tensor.data.cast("B"), checksum)
            _save(tensors, temporary, {_CHECKSUM: str(checksum)})
            os.replace(temporary, self.folder / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._add(self.folder / name, check=False)

    def describe(self, about: dict[str, object]) -> None:
        """Write `about.json` and remove what killed processes left.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(f"{_UNFINISHED}*"):
            if path.exists() and time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink(missing_ok=True)
        if not (self.folder / "about.json").exists():
            temporary = self.folder / f"{_UNFINISHED}about-{uuid.uuid4().hex[:8]}.json"
            temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
            os.replace(temporary, self.folder / "about.json")

    def _add(self, path: Path, *, check: bool = True) -> None:
        try:
            shard, keys, checksum = _read_header(path)
            if check and _crc32(shard, keys) != checksum:
                raise ValueError("the checksum differs")
        except FileNotFoundError:
            return  # another process removed it
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            _log.warning("%s is damaged (%s): removed, its features are computed again", path, error)
            path.unlink(missing_ok=True)
            return
        self._shards.append(shard)
        number = len(self._shards) - 1
        self._rows.update({key: (number, row) for row, key in enumerate(keys)})


def _save(tensors: dict[str, NDArray[Any]], path: Path, metadata: dict[str, str]) -> None:
    """Write a file durably; safetensors' own errors about the system become `OSError`."""
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_header(path: Path) -> tuple[_Shard, list[Key], int]:
    """Read where the features of a shard are, whose they are, and their checksum."""
    with safe_open(path, framework="np") as file:
        digests, views = file.get_tensor("digests"), file.get_tensor("views")
        checksum = int((file.metadata() or {})[_CHECKSUM])
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))["features"]
    if header["dtype"] != "F16" or header["shape"][0] != len(digests):
        raise ValueError("not a shard of features")
    shard = _Shard(path, 8 + length + header["data_offsets"][0], tuple(header["shape"]))
    return shard, [(digest.tobytes(), int(view)) for digest, view in zip(digests, views, strict=True)], checksum


def _crc32(shard: _Shard, keys: Sequence[Key]) -> int:
    """The checksum of a shard's features, digests and views."""
    checksum, left = 0, int(np.prod(shard.shape)) * 2
    with open(shard.path, "rb") as file:
        file.seek(shard.offset)
        while left and (chunk := file.read(min(_CHUNK, left))):
            checksum = zlib.crc32(chunk, checksum)
            left -= len(chunk)
    checksum = zlib.crc32(b"".join(digest for digest, _ in keys), checksum)
    return zlib.crc32(np.array([view for _, view in keys], np.int32).tobytes(), checksum)
