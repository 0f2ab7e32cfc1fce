"""Pairs of image files and captions in memory."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import IntArray
from cbalign.data.files import FileBuilder, FileSource, ImageFiles, PackedText
from cbalign.data.items import Pair


class PairFiles(FileSource[Pair]):
    """Image files with captions. Made by `PairBuilder`.

    Args:
        files: the image of each pair.
        captions: of all pairs, in order.
        caption_ends: where each pair's captions end, after a leading 0.
        image_ids: (pairs,), equal for pairs that show the same image.
    """

    def __init__(self, files: ImageFiles, captions: PackedText, caption_ends: array[int], image_ids: IntArray) -> None:
        super().__init__(files)
        self._captions = captions
        self._caption_ends = caption_ends
        self._image_ids = image_ids

    def item(self, index: int) -> Pair:
        """Return pair `index`."""
        own = range(self._caption_ends[index], self._caption_ends[index + 1])
        return Pair(self._files.path(index), tuple(self._captions[i] for i in own), int(self._image_ids[index]))

    def describe(self) -> str:
        """Describe the source in one line for logs."""
        images = int(self._image_ids.max()) + 1
        return f"{self.name}: {len(self._captions):,} captions of {images:,} images below {self._folders}"


class PairBuilder(FileBuilder):
    """Collects pairs file by file.

    Args:
        root: folder that image paths are relative to and cannot leave.
        unit: what readers number in a file.

    Raises:
        DataError: the root does not exist.
    """

    def __init__(self, root: str | Path, *, unit: str = "entry") -> None:
        super().__init__(root, unit=unit)
        self._captions = PackedText()
        self._caption_ends = array("q", [0])
        self._identities = array("Q")

    def add(self, number: int, image: str, captions: Sequence[str], *, identity: str | None = None) -> None:
        """Add one pair.

        Args:
            number: in its file.
            image: path of the image, relative to the root or absolute below it.
            captions: at least one.
            identity: equal for pairs of the file that show the same image; defaults to the path.

        Raises:
            DataError: the path leaves the root.
        """
        self._add_images(number, [image])
        for caption in captions:
            self._captions.append(caption)
        self._caption_ends.append(len(self._captions))
        self._identities.append(digest(f"path {image}" if identity is None else f"id {identity}"))

    def finish(self) -> PairFiles:
        """Return the source; its images are numbered in order of appearance.

        Raises:
            DataError: there are no pairs.
        """
        files = self._image_files("pairs")
        image_ids = number_by_appearance(self._identities_of_all_files())
        return PairFiles(files, self._captions, self._caption_ends, image_ids)

    def _identities_of_all_files(self) -> NDArray[np.uint64]:
        """Return identities (pairs,) that are valid across files.

        Image 42 of COCO is not image 42 of Visual Genome: across files, one identity is one image only if the path of
        its first pair is the same, too.
        """
        identities = np.frombuffer(self._identities, np.uint64)
        if len(self._starts) == 1:
            return identities
        identities = identities.copy()
        for start, end in pairwise([*self._starts, len(self)]):
            _, first, inverse = np.unique(identities[start:end], return_index=True, return_inverse=True)
            paths = np.array([digest(self._paths[start + int(index)]) for index in first], np.uint64)
            identities[start:end] ^= paths[inverse]
        return identities


def digest(text: str) -> int:
    """Hash a text to 64 bits; equal on every machine."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def number_by_appearance(identities: NDArray[np.uint64]) -> IntArray:
    """Number identities (N,) from 0 in order of first appearance; equal identities get equal numbers."""
    _, first, inverse = np.unique(identities, return_index=True, return_inverse=True)
    by_appearance = np.empty(len(first), np.int64)
    by_appearance[np.argsort(first)] = np.arange(len(first))
    return by_appearance[inverse]
