"""Pairs of image files and captions in memory: packed text and offsets, no Python object per pair.

A list of millions costs the bytes of its paths and captions plus about 50 bytes of numbers per entry, and forked
workers share it.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cbalign.data.image import decode
from cbalign.data.source import Entry
from cbalign.encoders import IntArray
from cbalign.errors import DataError, MissingImageError


class PackedText:
    """A growing list of strings in one block of UTF-8."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode()

    def append(self, text: str) -> None:
        """Add one string; halves of surrogate pairs, which JSON can spell, become question marks."""
        self._bytes += text.encode("utf-8", "replace")
        self._ends.append(len(self._bytes))


@dataclass(frozen=True)
class ImageRoot:
    """A folder that paths in data files cannot leave, neither by `..` nor by links."""

    given: str
    real: str

    @classmethod
    def at(cls, folder: str | Path) -> ImageRoot:
        """The root at a folder.

        Raises:
            DataError: it is no folder.
        """
        if not os.path.isdir(folder):
            raise DataError(f"{folder}: no such folder of images", remedy="Set the source's root.")
        return cls(os.path.abspath(folder), os.path.realpath(folder))

    def holds(self, path: str) -> bool:
        """Whether a path, relative or absolute, is spelled inside the root; looks at no file."""
        if not path or "\0" in path:
            return False
        if path[0] != "/" and ".." not in path:
            return True
        joined = os.path.normpath(os.path.join(self.given, path))
        return _below(joined, self.given) or _below(joined, self.real)

    def resolve(self, path: str) -> str | None:
        """The file behind a path, or None when links lead outside of the root.

        Backslashes separate folders where no file has them in its name: lists written on Windows are read everywhere.
        """
        joined = os.path.join(self.given, path)
        if "\\" in path and not os.path.lexists(joined):
            joined = os.path.join(self.given, path.replace("\\", "/"))
        real = os.path.realpath(joined)
        return real if _below(real, self.real) else None


@dataclass(frozen=True)
class Files:
    """The lists that pairs were read from, to name an entry in messages."""

    names: tuple[str, ...]
    starts: tuple[int, ...]  # index of the first entry of each file
    numbers: array[int]  # of each entry in its file
    unit: str  # what is numbered: entry, line

    def where(self, index: int) -> str:
        """File and number of an entry."""
        return f"{self.names[bisect_right(self.starts, index) - 1]}, {self.unit} {self.numbers[index]}"


class ImageFiles:
    """The image files that entries name, each entry as many.

    Args:
        files: where the entries come from, for messages.
        root: folder of the images.
        paths: of all images, entry after entry.
        per_entry: how many images an entry has.
    """

    def __init__(self, files: Files, root: ImageRoot, paths: PackedText, per_entry: int = 1) -> None:
        self.root = root
        self.per_entry = per_entry
        self._files = files
        self._paths = paths

    def path(self, entry: int, position: int = 0) -> str:
        """Path of an image as it is written."""
        return self._paths[entry * self.per_entry + position]

    def load(self, entry: int, position: int = 0) -> Image.Image:
        """An image, RGB.

        Raises:
            MissingImageError: it is not there.
            DataError: corrupt, or a link that leads outside the root.
        """
        label, path = self._locate(entry, position)
        return decode(path, name=label)

    def read(self, entry: int, position: int = 0) -> bytes:
        """An image file.

        Raises:
            MissingImageError: it is not there.
            DataError: unreadable, or a link that leads outside the root.
        """
        label, path = self._locate(entry, position)
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            raise MissingImageError(f"{label}: no such image") from None
        except OSError as error:
            raise DataError(f"{label}: cannot be read ({error.strerror or error})") from error

    def _locate(self, entry: int, position: int) -> tuple[str, str]:
        """What messages call an image, and its file."""
        written = self.path(entry, position)
        label = f"{self._files.where(entry)}: image {written}"
        path = self.root.resolve(written)
        if path is None:
            raise DataError(f"{label}: a path or link leads outside of the root {self.root.given}")
        return label, path


class PairFiles:
    """Image files under one root with captions; keeps `PairSource`. Made by `PairBuilder`.

    Args:
        files: where the entries come from.
        images: the image of each entry.
        captions: of all entries, in order.
        caption_ends: where each entry's captions end in it, after a leading 0.
        image_ids: (entries,), equal for entries that show one image.
    """

    def __init__(
        self,
        files: Files,
        images: ImageFiles,
        captions: PackedText,
        caption_ends: array[int],
        image_ids: IntArray,
    ) -> None:
        self.name = ", ".join(files.names)
        self._images = images
        self._captions = captions
        self._caption_ends = caption_ends
        self._image_ids = image_ids

    def __len__(self) -> int:
        return len(self._image_ids)

    def entry(self, index: int) -> Entry:
        """What entry `index` says."""
        own = range(self._caption_ends[index], self._caption_ends[index + 1])
        return Entry(self._images.path(index), tuple(self._captions[i] for i in own), int(self._image_ids[index]))

    def load(self, index: int) -> Image.Image:
        """The image of entry `index`, RGB.

        Raises:
            MissingImageError: it is not there.
            DataError: corrupt, or a link that leads outside the root.
        """
        return self._images.load(index)

    def read(self, index: int) -> bytes:
        """The image file of entry `index`.

        Raises:
            MissingImageError: it is not there.
            DataError: unreadable, or a link that leads outside the root.
        """
        return self._images.read(index)

    def describe(self) -> str:
        """One line for logs."""
        images = int(self._image_ids.max()) + 1
        return f"{self.name}: {len(self._captions):,} captions of {images:,} images below {self._images.root.given}"


class PairBuilder:
    """Collects entries file by file.

    Args:
        root: folder that image paths are relative to and cannot leave.
        unit: what readers number in a file, for messages.

    Raises:
        DataError: the root is no folder.
    """

    def __init__(self, root: str | Path, *, unit: str = "entry") -> None:
        self._root = ImageRoot.at(root)
        self._unit = unit
        self._names: list[str] = []
        self._starts: list[int] = []
        self._numbers = array("q")
        self._images = PackedText()
        self._captions = PackedText()
        self._caption_ends = array("q", [0])
        self._identities = array("Q")

    def __len__(self) -> int:
        return len(self._images)

    def start_file(self, name: str | Path) -> None:
        """The entries that follow come from this file."""
        self._names.append(str(name))
        self._starts.append(len(self._images))

    def add(self, number: int, image: str, captions: Sequence[str], *, identity: str | None = None) -> None:
        """One entry.

        Args:
            number: in its file.
            image: path of the image, relative to the root or absolute below it.
            captions: at least one.
            identity: equal for entries of the file that show one image; the path when left out.

        Raises:
            DataError: the path leaves the root.
        """
        if not self._root.holds(image):
            raise DataError(
                f"{self._names[-1]}, {self._unit} {number}: image {image!r} is not inside the root {self._root.given}",
                remedy="Set the source's root to the folder that holds the images.",
            )
        self._images.append(image)
        for caption in captions:
            self._captions.append(caption)
        self._caption_ends.append(len(self._captions))
        self._numbers.append(number)
        self._identities.append(digest(f"path {image}" if identity is None else f"id {identity}"))

    def finish(self) -> PairFiles:
        """The source; its images are numbered in order of appearance.

        Raises:
            DataError: there are no entries.
        """
        if not len(self._images):
            raise DataError(f"{', '.join(self._names)}: no pairs")
        files = Files(tuple(self._names), tuple(self._starts), self._numbers, self._unit)
        image_ids = number_by_appearance(self._identities_of_all_files())
        images = ImageFiles(files, self._root, self._images)
        return PairFiles(files, images, self._captions, self._caption_ends, image_ids)

    def _identities_of_all_files(self) -> NDArray[np.uint64]:
        """Identities (entries,) that hold beyond their file.

        Image 42 of COCO is not image 42 of Visual Genome: between files, one identity is one image only where the
        path of its first entry is the same, too.
        """
        identities = np.frombuffer(self._identities, np.uint64)
        if len(self._starts) == 1:
            return identities
        identities = identities.copy()
        for start, end in pairwise([*self._starts, len(self)]):
            _, first, inverse = np.unique(identities[start:end], return_index=True, return_inverse=True)
            paths = np.array([digest(self._images[start + int(entry)]) for entry in first], np.uint64)
            identities[start:end] ^= paths[inverse]
        return identities


def digest(text: str) -> int:
    """64 bits that stand for a text; equal on every machine."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def number_by_appearance(identities: NDArray[np.uint64]) -> IntArray:
    """Numbers (entries,) from 0, equal for equal identities, in the order in which these first appear."""
    _, first, inverse = np.unique(identities, return_index=True, return_inverse=True)
    by_appearance = np.empty(len(first), np.int64)
    by_appearance[np.argsort(first)] = np.arange(len(first))
    return by_appearance[inverse]


def _below(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))
