"""Items about image files in memory: packed text and numbers, no Python object per item.

A list of millions costs the bytes of its paths and texts plus about 50 bytes of numbers per item, and forked workers
share it. `FileSource` is the base of the sources, `FileBuilder` collects what they are made of.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from PIL import Image

from cbalign.data.image import decode
from cbalign.data.items import Item
from cbalign.errors import DataError, MissingImageError

ItemT_co = TypeVar("ItemT_co", bound=Item, covariant=True)


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
        """Add one string; unpaired surrogates, which JSON can contain, become question marks."""
        self._bytes += text.encode("utf-8", "replace")
        self._ends.append(len(self._bytes))


@dataclass(frozen=True)
class ImageRoot:
    """A folder that paths in data files cannot leave, neither by `..` nor by links."""

    given: str
    real: str

    @classmethod
    def at(cls, folder: str | Path) -> ImageRoot:
        """Make the root of a folder.

        Raises:
            DataError: the folder does not exist.
        """
        if not os.path.isdir(folder):
            raise DataError(
                f"{folder}: no such folder of images", remedy="Set the source's root to an existing folder."
            )
        return cls(os.path.abspath(folder), os.path.realpath(folder))

    def contains(self, path: str) -> bool:
        """Check that a path, relative or absolute, is written as one inside the root; accesses no file."""
        if not path or "\0" in path:
            return False
        if path[0] != "/" and ".." not in path:
            return True
        joined = os.path.normpath(os.path.join(self.given, path))
        return _below(joined, self.given) or _below(joined, self.real)

    def resolve(self, path: str) -> str | None:
        """Return the file behind a path, or None if links lead outside the root.

        Backslashes separate folders unless a file name contains them, so that lists written on Windows work everywhere.
        """
        joined = os.path.join(self.given, path)
        if "\\" in path and not os.path.lexists(joined):
            joined = os.path.join(self.given, path.replace("\\", "/"))
        real = os.path.realpath(joined)
        return real if _below(real, self.real) else None


@dataclass(frozen=True)
class ListFiles:
    """The files that list the items, to name an item in messages."""

    names: tuple[str, ...]
    starts: tuple[int, ...]  # index of the first item of each file
    numbers: array[int]  # of each item in its file
    unit: str  # what is numbered: entry, line

    def where(self, index: int) -> str:
        """Return file and number of an item."""
        return f"{self.names[bisect_right(self.starts, index) - 1]}, {self.unit} {self.numbers[index]}"


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a list of items, the same number for each item.

    Args:
        lists: the files that list the items.
        roots: folders of the images.
        root_of: for each item, the number of its root.
        paths: of all images, item after item, as written.
        per_item: number of images of an item.
    """

    lists: ListFiles
    roots: tuple[ImageRoot, ...]
    root_of: array[int]
    paths: PackedText
    per_item: int

    def __len__(self) -> int:
        return len(self.root_of)

    def path(self, index: int, position: int = 0) -> str:
        """Return the path of an image as written."""
        return self.paths[index * self.per_item + position]

    def decode(self, index: int, position: int) -> Image.Image:
        """Decode an image, RGB.

        Raises:
            MissingImageError: it does not exist.
            DataError: it is corrupt, or a link leads outside the root.
        """
        label, path = self._locate(index, position)
        return decode(path, name=label)

    def read(self, index: int, position: int) -> bytes:
        """Read an image file.

        Raises:
            MissingImageError: it does not exist.
            DataError: it cannot be read, or a link leads outside the root.
        """
        label, path = self._locate(index, position)
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            raise MissingImageError(f"{label}: no such image") from None
        except OSError as error:
            raise DataError(f"{label}: cannot be read ({error.strerror or error})") from error

    def _locate(self, index: int, position: int) -> tuple[str, str]:
        """Return the name of an image in messages, and its file."""
        written, root = self.path(index, position), self.roots[self.root_of[index]]
        label = f"{self.lists.where(index)}: image {written}"
        path = root.resolve(written)
        if path is None:
            raise DataError(
                f"{label}: the path or a link in it leads outside the root {root.given}",
                remedy="Set the source's root to the folder that contains the images.",
            )
        return label, path


class FileSource(ABC, Generic[ItemT_co]):
    """A source of items about image files; implements `cbalign.data.source.Source`.

    Args:
        files: the images of the items.
    """

    def __init__(self, files: ImageFiles) -> None:
        self.name = ", ".join(files.lists.names)
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    @abstractmethod
    def item(self, index: int) -> ItemT_co:
        """Return item `index`."""

    @abstractmethod
    def describe(self) -> str:
        """Describe the source in one line for logs."""

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """Decode the images of item `index`, RGB.

        Raises:
            MissingImageError: an image does not exist.
            DataError: an image is corrupt, or a link leads outside the root.
        """
        return tuple(self._files.decode(index, position) for position in range(self._files.per_item))

    def image(self, index: int, position: int) -> Image.Image:
        """Decode one image of item `index`; raises what `images` raises."""
        return self._files.decode(index, position)

    def read(self, index: int) -> tuple[bytes, ...]:
        """Read the image files of item `index`.

        Raises:
            MissingImageError: an image does not exist.
            DataError: an image cannot be read, or a link leads outside the root.
        """
        return tuple(self._files.read(index, position) for position in range(self._files.per_item))

    def stored(self, index: int) -> tuple[bytes, ...]:
        """Read the image files of item `index`."""
        return self.read(index)

    def where(self, index: int) -> str:
        """Return file and number of item `index`, for messages."""
        return self._files.lists.where(index)

    @property
    def _folders(self) -> str:
        """The folders of the images, for `describe`."""
        return " and ".join(dict.fromkeys(root.given for root in self._files.roots))


class FileBuilder:
    """Collects items file by file; the base of the builders for each kind of items.

    Args:
        roots: folders that image paths are relative to and cannot leave.
        per_item: number of images of an item.
        unit: what readers number in a file.

    Raises:
        DataError: a root does not exist.
    """

    def __init__(self, *roots: str | Path, per_item: int = 1, unit: str = "entry") -> None:
        self.roots = tuple(ImageRoot.at(root) for root in roots)
        self._per_item = per_item
        self._unit = unit
        self._names: list[str] = []
        self._starts: list[int] = []
        self._numbers = array("q")
        self._root_of = array("B")
        self._paths = PackedText()

    def __len__(self) -> int:
        return len(self._numbers)

    def start_file(self, name: str | Path) -> None:
        """Declare that the items that follow are listed in this file."""
        self._names.append(str(name))
        self._starts.append(len(self))

    def _add_images(self, number: int, images: Sequence[str], root: int = 0) -> None:
        """Add the images of the item with this number in its file.

        Raises:
            DataError: the number of images is wrong, or a path leaves the root.
        """
        where = f"{self._names[-1]}, {self._unit} {number}"
        if len(images) != self._per_item:
            raise DataError(f"{where}: {len(images)} images, expected {self._per_item}")
        for path in images:
            if not self.roots[root].contains(path):
                raise DataError(
                    f"{where}: image {path!r} is not inside the root {self.roots[root].given}",
                    remedy="Set the source's root to the folder that contains the images.",
                )
            self._paths.append(path)
        self._numbers.append(number)
        self._root_of.append(root)

    def _image_files(self, kind: str) -> ImageFiles:
        """Return what was added.

        Raises:
            DataError: there are no items; `kind` names them.
        """
        if not len(self):
            raise DataError(f"{', '.join(self._names)}: no {kind}")
        lists = ListFiles(tuple(self._names), tuple(self._starts), self._numbers, self._unit)
        return ImageFiles(lists, self.roots, self._root_of, self._paths, self._per_item)


def _below(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))
