"""Webdataset shards: tar files in which `name.jpg`, `name.txt` and `name.json` belong together.

Opening shards indexes them, so that samples can be read in any order; the index takes about 60 bytes per pair plus the
captions.

The captions of a sample are the list `caption` of its `.json`, else the text of its `.txt`, else the text `caption` of
its `.json`. Two more fields of `.json` are read: samples of one folder of shards with the same `image_id` show the
same image, and `captions_per_entry` splits the captions of a sample into several pairs.
"""

from __future__ import annotations

import json
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from cbalign.data.files import PackedText
from cbalign.data.image import decode
from cbalign.data.items import Pair
from cbalign.data.json_stream import JsonObject
from cbalign.data.pairs import digest, number_by_appearance
from cbalign.data.sections.pairs import ShardSource
from cbalign.errors import DataError
from cbalign.experiment.shard_names import expand_shards
from cbalign.parts import ItemKind

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
_TEXT_EXTENSIONS = ("txt", "json")
_LONGEST_TEXT = 64 << 20  # bytes
_TOGETHER = "The files of a sample must follow one another in the shard: pack it with tar --sort=name."


def open_section(section: ShardSource, items: ItemKind) -> Shards:
    """Open the source that a section describes."""
    return Shards(section.shards)


class Shards:
    """Image-text samples of tar files; implements `cbalign.data.source.Source[Pair]`.

    Samples without `image_id` show different images.

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
        identities = array("Q")
        for number, file in enumerate(self._files):
            for sample in _samples(file):
                identity = digest(_identity(file, sample))
                for captions in sample.pairs:
                    self._add(number, sample, captions)
                    identities.append(identity)
        if not len(self._keys):
            raise DataError(f"{self.name}: no samples")
        self._image_ids = number_by_appearance(np.frombuffer(identities, np.uint64))

    def __len__(self) -> int:
        return len(self._keys)

    def item(self, index: int) -> Pair:
        """Return pair `index`."""
        own = range(self._caption_ends[index], self._caption_ends[index + 1])
        shard = Path(self._files[self._shards[index]]).name
        captions = tuple(self._captions[i] for i in own)
        return Pair(f"{shard}/{self._keys[index]}", captions, int(self._image_ids[index]))

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """Decode the image of pair `index`, RGB.

        Raises:
            DataError: the shard cannot be read or the image is corrupt.
        """
        return (decode(self.read(index)[0], name=self._label(index)),)

    def read(self, index: int) -> tuple[bytes, ...]:
        """Read the image file of pair `index`.

        Raises:
            DataError: the shard cannot be read.
        """
        try:
            with open(self._files[self._shards[index]], "rb", buffering=0) as shard:
                shard.seek(self._offsets[index])
                return (shard.read(self._sizes[index]),)
        except OSError as error:
            raise DataError(f"{self._label(index)}: cannot be read ({error.strerror or error})") from error

    def stored(self, index: int) -> tuple[bytes, ...]:
        """Read the image file of pair `index`."""
        return self.read(index)

    def describe(self) -> str:
        """Describe the source in one line for logs."""
        return f"{self.name}: {len(self):,} pairs in {len(self._files):,} shards"

    def _label(self, index: int) -> str:
        return f"{self._files[self._shards[index]]}, sample {self._keys[index]}"

    def _add(self, shard: int, sample: _Sample, captions: Sequence[str]) -> None:
        self._shards.append(shard)
        self._offsets.append(sample.offset)
        self._sizes.append(sample.size)
        self._keys.append(sample.key)
        for caption in captions:
            self._captions.append(caption)
        self._caption_ends.append(len(self._captions))


def _files(pattern: str) -> list[str]:
    try:
        return expand_shards(pattern)
    except ValueError as error:
        raise DataError(str(error)) from error


@dataclass
class _Sample:
    """The sample that is being read."""

    key: str
    offset: int = -1
    size: int = 0
    text: str | None = None
    described: JsonObject = field(default_factory=dict)

    @property
    def captions(self) -> list[str]:
        """All captions, of all pairs."""
        caption = self.described.get("caption")
        if isinstance(caption, list) and caption:
            return caption
        if self.text is not None:
            return [self.text]
        return [caption] if isinstance(caption, str) else []

    @property
    def pairs(self) -> list[list[str]]:
        """The captions of each pair."""
        captions = self.captions
        counts = self.described.get("captions_per_entry")
        ends = accumulate(counts) if isinstance(counts, list) else [len(captions)]
        return [captions[start:end] for start, end in pairwise([0, *ends])]


def _identity(file: str, sample: _Sample) -> str:
    image_id = sample.described.get("image_id")
    return f"{file}, sample {sample.key}" if image_id is None else f"{Path(file).parent}, image {image_id!r}"


def _samples(file: str) -> Iterator[_Sample]:
    """Iterate over the samples of a shard: consecutive members with the same path up to the first dot of the name."""
    sample: _Sample | None = None
    try:
        with tarfile.open(file, "r:") as shard:
            while (member := shard.next()) is not None:
                shard.members = []  # type: ignore[attr-defined]  # or tarfile stores an object for each member
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
            f"{file}: not an intact tar file ({error})",
            remedy="Shards must be uncompressed: unpack a .tar.gz with gunzip first.",
        ) from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (MemoryError, OverflowError) as error:
        raise DataError(f"{file}: not an intact tar file (a header claims more data than fit in memory)") from error
    if sample is not None:
        yield _complete(sample, file)


def _read_member(sample: _Sample, shard: tarfile.TarFile, member: tarfile.TarInfo, extension: str, file: str) -> None:
    if member.issparse() and extension in (*IMAGE_EXTENSIONS, *_TEXT_EXTENSIONS):
        raise DataError(f"{file}, {member.name}: a sparse file, which shards cannot contain")
    if extension in IMAGE_EXTENSIONS:
        sample.offset, sample.size = member.offset_data, member.size
    elif extension in _TEXT_EXTENSIONS:
        if member.size > _LONGEST_TEXT:
            raise DataError(f"{file}, {member.name}: {member.size:,} bytes, more than captions can have")
        content = shard.extractfile(member)
        assert content is not None, "a regular file has content"
        text = content.read().decode("utf-8-sig", "replace")
        if extension == "txt":
            sample.text = text.strip()
        else:
            sample.described = _described(text, f"{file}, sample {sample.key}")


def _described(text: str, where: str) -> JsonObject:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: its .json is not valid JSON ({error})") from error
    if not isinstance(values, dict):
        return {}
    caption, counts = values.get("caption"), values.get("captions_per_entry")
    texts = caption if isinstance(caption, list) else [caption]
    if caption is not None and not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where}: field caption: expected a text or a list of texts, found {caption!r}")
    if counts is not None and not _parts(counts, len(texts)):
        raise DataError(
            f"{where}: field captions_per_entry: expected numbers that add up to {len(texts)}, found {counts!r}"
        )
    fields = ("caption", "captions_per_entry", "image_id")
    return {name: values[name] for name in fields if values.get(name) is not None}


def _parts(counts: object, total: int) -> bool:
    """Check that these are positive numbers with this sum."""
    return isinstance(counts, list) and all(type(n) is int and n > 0 for n in counts) and sum(counts) == total


def _complete(sample: _Sample, file: str) -> _Sample:
    if sample.offset < 0:
        raise DataError(f"{file}, sample {sample.key}: no image ({', '.join(IMAGE_EXTENSIONS)})", remedy=_TOGETHER)
    if not sample.captions:
        raise DataError(
            f"{file}, sample {sample.key}: no caption (.txt, or the field caption of .json)", remedy=_TOGETHER
        )
    return sample
