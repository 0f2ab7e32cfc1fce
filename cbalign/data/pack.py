"""Write a source of pairs as webdataset shards, which read back as the same pairs in the same order."""

from __future__ import annotations

import io
import json
import tarfile
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from hashlib import file_digest
from itertools import chain
from pathlib import Path
from types import TracebackType

from PIL import Image

from cbalign.data.corruption import UnreadableItems
from cbalign.data.items import Pair
from cbalign.data.progress import ProgressCallback
from cbalign.data.source import Source
from cbalign.data.workers import ordered_map
from cbalign.errors import DataError

MANIFEST = "manifest.json"
FORMAT = 1

_EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}
_BLOCK = 512


@dataclass(frozen=True)
class ShardLimits:
    """The largest number of samples and of bytes of a shard."""

    samples: int
    bytes: int


@dataclass(frozen=True)
class Scaling:
    """How large images are scaled down.

    Images whose longer side exceeds `longest_side` pixels are scaled to it and stored as JPEG with `quality`. The files
    of other images are stored unchanged; with None all are.
    """

    longest_side: int | None = None
    quality: int = 95


@dataclass(frozen=True)
class PackedShard:
    """One tar file."""

    name: str
    samples: int
    pairs: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Packed:
    """The shards that were written; the content of `manifest.json`."""

    source: str
    pairs: int
    samples: int
    scaling: Scaling
    shards: tuple[PackedShard, ...]
    skipped: tuple[str, ...]  # the reason for each image that could not be read

    @property
    def pattern(self) -> str:
        """The pattern of the shards for a spec, relative to their folder."""
        first, last = self.shards[0].name, self.shards[-1].name
        return first if first == last else f"{{{Path(first).stem}..{Path(last).stem}}}.tar"

    def to_json(self) -> dict[str, object]:
        """Return the manifest."""
        return {"format": FORMAT, "shard_pattern": self.pattern, **asdict(self)}


def pack(
    source: Source[Pair],
    folder: Path,
    *,
    limits: ShardLimits,
    scaling: Scaling,
    corrupt_limit: float,
    workers: int,
    report: ProgressCallback,
) -> Packed:
    """Write shards `00000.tar`, … and `manifest.json` into a folder; equal sources give equal files.

    Consecutive pairs that show the same image become one sample, so that the image is stored once.

    Args:
        source: the pairs.
        folder: an empty folder.
        limits: of a shard.
        scaling: of large images.
        corrupt_limit: share of the pairs whose images may be unreadable; they are skipped.
        workers: processes that read and scale images; 0 for this one.
        report: progress callback.

    Raises:
        DataError: too many images are unreadable, or a worker was killed.
    """
    shards = _Shards(folder, limits)
    unreadable = UnreadableItems(source, corrupt_limit)
    done = 0
    firsts = (sample.first for sample in _samples(source))
    with shards, closing(ordered_map(_Read(source, scaling), firsts, workers)) as images:
        for sample, image in zip(_samples(source), images):
            if isinstance(image, str):
                unreadable.add(sample.first, image, items=len(sample.pairs))
            else:
                shards.add(sample, image)
            done += len(sample.pairs)
            report("pairs", done, len(source))
    skipped = tuple(each.reason for each in unreadable.found.values())
    pairs = len(source) - unreadable.count
    packed = Packed(source.describe(), pairs, shards.samples, scaling, shards.finished, skipped)
    text = json.dumps(packed.to_json(), indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return packed


@dataclass(frozen=True)
class _Sample:
    """Consecutive pairs that show the same image, the first at index `first`."""

    first: int
    pairs: tuple[Pair, ...]

    def to_json(self) -> bytes:
        """Return the content of its `.json`."""
        values: dict[str, object] = {
            "caption": [caption for pair in self.pairs for caption in pair.captions],
            "image_id": self.pairs[0].image_id,
            "image": self.pairs[0].image_key,
        }
        if len(self.pairs) > 1:
            values["captions_per_entry"] = [len(pair.captions) for pair in self.pairs]
        return json.dumps(values, ensure_ascii=False).encode()


def _samples(source: Source[Pair]) -> Iterator[_Sample]:
    first, row = 0, [source.item(0)]
    for index in range(1, len(source)):
        pair = source.item(index)
        if (pair.image_id, pair.image_key) != (row[0].image_id, row[0].image_key):
            yield _Sample(first, tuple(row))
            first, row = index, []
        row.append(pair)
    yield _Sample(first, tuple(row))


@dataclass(frozen=True)
class _ImageFile:
    """The stored file of an image."""

    extension: str
    content: bytes


class _Read:
    """Reads images of a source in the form to store; for an unreadable image returns the reason."""

    def __init__(self, source: Source[Pair], scaling: Scaling) -> None:
        self._source = source
        self._scaling = scaling

    def __call__(self, index: int) -> _ImageFile | str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about damage that it tolerates
            try:
                (image,) = self._source.images(index)  # decoded to find damage
                return self._stored(image, self._source.read(index)[0])
            except DataError as error:
                return error.message

    def _stored(self, image: Image.Image, content: bytes) -> _ImageFile:
        longest = self._scaling.longest_side
        if longest is not None and max(image.size) > longest:
            width, height = (max(1, round(side * longest / max(image.size))) for side in image.size)
            return _encode(image.resize((width, height), Image.Resampling.BICUBIC), self._scaling.quality)
        with Image.open(io.BytesIO(content)) as opened:
            extension = _EXTENSIONS.get(opened.format or "")
        return _encode(image, None) if extension is None else _ImageFile(extension, content)


def _encode(image: Image.Image, quality: int | None) -> _ImageFile:
    """Encode an image as JPEG with a quality, or as PNG without one."""
    buffer = io.BytesIO()
    if quality is None:
        image.save(buffer, "PNG")
        return _ImageFile("png", buffer.getvalue())
    image.save(buffer, "JPEG", quality=quality)
    return _ImageFile("jpg", buffer.getvalue())


class _Shards:
    """Writes consecutive tar files."""

    def __init__(self, folder: Path, limits: ShardLimits) -> None:
        self._folder = folder
        self._limits = limits
        self._open: _OpenShard | None = None
        self._finished: list[PackedShard] = []
        self.samples = 0

    @property
    def finished(self) -> tuple[PackedShard, ...]:
        return tuple(self._finished)

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._finish()

    def add(self, sample: _Sample, image: _ImageFile) -> None:
        key = f"{self.samples:09d}"
        members = {
            f"{key}.{image.extension}": image.content,
            f"{key}.json": sample.to_json(),
            # For readers that do not support lists; ours prefers the list.
            f"{key}.txt": next(chain.from_iterable(pair.captions for pair in sample.pairs)).encode(),
        }
        size = sum(_BLOCK + -(-len(content) // _BLOCK) * _BLOCK for content in members.values())
        if self._open is not None and self._open.is_full(size, self._limits):
            self._finish()
        if self._open is None:
            self._open = _OpenShard(self._folder / f"{len(self._finished):05d}.tar")
        self._open.add(members, len(sample.pairs), size)
        self.samples += 1

    def _finish(self) -> None:
        if self._open is not None:
            self._finished.append(self._open.finish())
            self._open = None


class _OpenShard:
    """A tar file that is being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tar = tarfile.TarFile(path, "w", format=tarfile.GNU_FORMAT)
        self._samples = self._pairs = self._bytes = 0

    def is_full(self, size: int, limits: ShardLimits) -> bool:
        whole = -(-(self._bytes + size + 2 * _BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
        return self._samples >= limits.samples or whole > limits.bytes

    def add(self, members: dict[str, bytes], pairs: int, size: int) -> None:
        for name, content in members.items():
            info = tarfile.TarInfo(name)  # no time and no owner: equal data give equal shards
            info.size, info.mode = len(content), 0o644
            self._tar.addfile(info, io.BytesIO(content))
        self._samples += 1
        self._pairs += pairs
        self._bytes += size

    def finish(self) -> PackedShard:
        self._tar.close()
        with open(self._path, "rb") as file:
            sha256 = file_digest(file, "sha256").hexdigest()
        return PackedShard(self._path.name, self._samples, self._pairs, self._path.stat().st_size, sha256)
