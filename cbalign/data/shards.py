"""Webdataset shards: tar files in which `name.jpg`, `name.txt` and `name.json` belong together.

Shards are indexed when they are opened, so that every sample can be reached in any order; the index costs about 60
bytes per sample and its captions.
"""

from __future__ import annotations

import json
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from cbalign.data.image import decode
from cbalign.data.pairs import PackedText
from cbalign.data.source import Entry
from cbalign.errors import DataError
from cbalign.spec.shard_names import expand

_IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")


class Shards:
    """Image-text samples of tar files; keeps `PairSource`. Every sample shows an image of its own.

    Captions are the text of `.txt`, or the field `caption` (a text or a list) of `.json`.

    Args:
        patterns: shard files; `{00000..00099}` stands for each number in the range.

    Raises:
        DataError: a shard is missing, damaged or compressed, or a sample lacks its image or caption.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.name = ", ".join(patterns)
        self._files = tuple(file for pattern in patterns for file in _files(pattern))
        self._shards = array("l")
        self._offsets = array("q")
        self._sizes = array("q")
        self._keys = PackedText()
        self._captions = PackedText()
        self._caption_ends = array("q", [0])
        for number, file in enumerate(self._files):
            for sample in _samples(file):
                self._add(number, sample)
        if not len(self._keys):
            raise DataError(f"{self.name}: no samples")

    def __len__(self) -> int:
        return len(self._keys)

    def entry(self, index: int) -> Entry:
        """What sample `index` says."""
        own = range(self._caption_ends[index], self._caption_ends[index + 1])
        shard = Path(self._files[self._shards[index]]).name
        return Entry(f"{shard}/{self._keys[index]}", tuple(self._captions[i] for i in own), index)

    def load(self, index: int) -> Image.Image:
        """The image of sample `index`, RGB.

        Raises:
            DataError: the shard is gone or the image corrupt.
        """
        file = self._files[self._shards[index]]
        label = f"{file}, sample {self._keys[index]}"
        try:
            with open(file, "rb", buffering=0) as shard:
                shard.seek(self._offsets[index])
                data = shard.read(self._sizes[index])
        except OSError as error:
            raise DataError(f"{label}: cannot be read ({error.strerror or error})") from error
        return decode(data, name=label)

    def describe(self) -> str:
        """One line for logs."""
        return f"{self.name}: {len(self):,} samples in {len(self._files):,} shards"

    def _add(self, shard: int, sample: _Sample) -> None:
        self._shards.append(shard)
        self._offsets.append(sample.offset)
        self._sizes.append(sample.size)
        self._keys.append(sample.key)
        for caption in sample.captions:
            self._captions.append(caption)
        self._caption_ends.append(len(self._captions))


def _files(pattern: str) -> list[str]:
    try:
        return expand(pattern)
    except ValueError as error:
        raise DataError(str(error)) from error


@dataclass
class _Sample:
    """What is known of the sample that is being read."""

    key: str
    offset: int = -1
    size: int = 0
    text: list[str] = field(default_factory=list)
    described: list[str] = field(default_factory=list)

    @property
    def captions(self) -> list[str]:
        return self.text or self.described


def _samples(file: str) -> Iterator[_Sample]:
    """The samples of a shard: members in a row whose names agree up to the first dot of the last part."""
    sample: _Sample | None = None
    try:
        with tarfile.open(file, "r:") as shard:
            while (member := shard.next()) is not None:
                shard.members = []  # type: ignore[attr-defined]  # else tarfile keeps an object for each member
                folder, _, base = member.name.rpartition("/")
                stem, _, extension = base.partition(".")
                if not member.isfile() or not stem:
                    continue
                key = f"{folder}/{stem}" if folder else stem
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield _complete(sample, file)
                    sample = _Sample(key)
                _read_member(sample, shard, member, extension.lower(), file)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(
            f"{file}: not an intact tar file ({error})", remedy="Shards are read uncompressed; unpack a .tar.gz first."
        ) from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    if sample is not None:
        yield _complete(sample, file)


def _read_member(sample: _Sample, shard: tarfile.TarFile, member: tarfile.TarInfo, extension: str, file: str) -> None:
    if extension in _IMAGES:
        sample.offset, sample.size = member.offset_data, member.size
    elif extension in ("txt", "json"):
        content = shard.extractfile(member)
        assert content is not None, "a regular file has content"
        text = content.read().decode("utf-8", "replace")
        if extension == "txt":
            sample.text = [text.strip()]
        else:
            sample.described = _described(text, f"{file}, sample {sample.key}")


def _described(text: str, where: str) -> list[str]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: its .json is not valid JSON ({error})") from error
    caption = values.get("caption") if isinstance(values, dict) else None
    captions = [caption] if isinstance(caption, str) else caption if isinstance(caption, list) else []
    if not all(isinstance(one, str) for one in captions):
        raise DataError(f"{where}: field caption: expected a text or a list of texts, found {caption!r}")
    return captions


def _complete(sample: _Sample, file: str) -> _Sample:
    if sample.offset < 0:
        raise DataError(f"{file}, sample {sample.key}: no image ({', '.join(_IMAGES)})")
    if not sample.captions:
        raise DataError(f"{file}, sample {sample.key}: no caption (.txt, or the field caption of .json)")
    return sample
