"""Labelled texts about image files in memory: packed text, no Python object per item. For NLVR2 and SNLI-VE."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from cbalign.data.json_stream import JsonObject
from cbalign.data.pairs import Files, ImageFiles, ImageRoot, PackedText
from cbalign.errors import DataError

UNKNOWN = -1


@dataclass(frozen=True)
class LabelledItems:
    """Items as read: `labels` holds classes, or `UNKNOWN`; the others one text for each item."""

    files: Files
    images: ImageFiles
    ids: PackedText
    texts: PackedText
    groups: PackedText
    labels: array[int]


class LabelledFiles:
    """The part of an `ItemSource` that is the same for statements and premises.

    Args:
        items: as read.
        kind: what they are called in logs.
    """

    def __init__(self, items: LabelledItems, kind: str) -> None:
        self.name = ", ".join(items.files.names)
        self._items = items
        self._kind = kind

    def __len__(self) -> int:
        return len(self._items.texts)

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """The images of item `index`, RGB.

        Raises:
            MissingImageError: one is not there.
            DataError: corrupt, or a link that leads outside the root.
        """
        return tuple(self.image(index, position) for position in range(self._items.images.per_entry))

    def image(self, index: int, position: int) -> Image.Image:
        """One image of item `index`; errors as of `images`."""
        return self._items.images.load(index, position)

    def read(self, index: int) -> tuple[bytes, ...]:
        """The image files of item `index`.

        Raises:
            MissingImageError: one is not there.
            DataError: unreadable, or a link that leads outside the root.
        """
        return tuple(self._items.images.read(index, i) for i in range(self._items.images.per_entry))

    def describe(self) -> str:
        """One line for logs."""
        return f"{self.name}: {len(self):,} {self._kind} below {self._items.images.root.given}"


class LabelledBuilder:
    """Collects items file by file.

    Args:
        root: folder that image paths are relative to and cannot leave.
        images: of each item.

    Raises:
        DataError: the root is no folder.
    """

    def __init__(self, root: str | Path, images: int) -> None:
        self.root = ImageRoot.at(root)
        self._images = images
        self._names: list[str] = []
        self._starts: list[int] = []
        self._numbers = array("q")
        self._paths = PackedText()
        self._ids, self._texts, self._groups = PackedText(), PackedText(), PackedText()
        self._labels = array("b")

    def start_file(self, name: str | Path) -> None:
        """The items that follow come from this file."""
        self._names.append(str(name))
        self._starts.append(len(self._texts))

    def add(self, number: int, images: Sequence[str], text: str, label: int, *, id: str, group: str) -> None:
        """One item: entry `number` of the file.

        Raises:
            DataError: it has not as many images as all, or a path leaves the root.
        """
        where = f"{self._names[-1]}, entry {number}"
        if len(images) != self._images:
            raise DataError(f"{where}: {len(images)} images, expected {self._images}")
        for path in images:
            if not self.root.holds(path):
                raise DataError(
                    f"{where}: image {path!r} is not inside the root {self.root.given}",
                    remedy="Set the source's root to the folder that holds the images.",
                )
            self._paths.append(path)
        self._numbers.append(number)
        self._ids.append(id)
        self._texts.append(text)
        self._groups.append(group)
        self._labels.append(label)

    def finish(self) -> LabelledItems:
        """The items.

        Raises:
            DataError: there are none.
        """
        if not len(self._texts):
            raise DataError(f"{', '.join(self._names)}: no entries")
        files = Files(tuple(self._names), tuple(self._starts), self._numbers, "entry")
        images = ImageFiles(files, self.root, self._paths, self._images)
        return LabelledItems(files, images, self._ids, self._texts, self._groups, self._labels)


def text_field(entry: JsonObject, name: str, where: str) -> str:
    """A field that has to be there and be a text.

    Raises:
        DataError: it is not.
    """
    value = entry.get(name)
    if isinstance(value, str) and value.strip():
        return value
    if name not in entry:
        raise DataError(f"{where}: no field {name} (there are: {', '.join(entry) or 'none'})")
    raise DataError(f"{where}: field {name}: expected a text, found {value!r}")


def label_of(entry: JsonObject, name: str, labels: Sequence[str], where: str) -> int:
    """The class that a field names; `UNKNOWN` where there is no such field.

    Raises:
        DataError: it is none of the labels.
    """
    if name not in entry:
        return UNKNOWN
    value = entry[name]
    text = str(value) if isinstance(value, str | bool) else repr(value)
    if text not in labels:
        raise DataError(
            f"{where}: field {name}: {value!r} is none of {', '.join(labels)}",
            remedy="Leave such entries out of the file.",
        )
    return labels.index(text)
