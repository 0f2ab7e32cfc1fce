"""Labelled texts about image files in memory, for NLVR2 and SNLI-VE."""

from __future__ import annotations

from abc import ABC
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from cbalign.data.files import FileBuilder, FileSource, ImageFiles, PackedText
from cbalign.data.items import Labelled
from cbalign.data.json_stream import JsonObject
from cbalign.errors import DataError

LabelledT_co = TypeVar("LabelledT_co", bound=Labelled, covariant=True)

UNKNOWN = -1


@dataclass(frozen=True)
class LabelledLists:
    """What labelled items consist of besides their images; `labels` are classes or `UNKNOWN`."""

    ids: PackedText
    texts: PackedText
    groups: PackedText
    labels: array[int]


class LabelledFiles(FileSource[LabelledT_co], ABC):
    """Statements or premises about image files; subclasses make the items. Collected by `LabelledBuilder`."""

    noun: ClassVar[str]

    def __init__(self, collected: tuple[ImageFiles, LabelledLists]) -> None:
        files, self._lists = collected
        super().__init__(files)

    def describe(self) -> str:
        """Describe the source in one line for logs."""
        return f"{self.name}: {len(self):,} {self.noun} below {self._folders}"


class LabelledBuilder(FileBuilder):
    """Collects labelled items file by file.

    Args:
        root: folder that image paths are relative to and cannot leave.
        per_item: number of images of an item.

    Raises:
        DataError: the root does not exist.
    """

    def __init__(self, root: str | Path, per_item: int) -> None:
        super().__init__(root, per_item=per_item)
        self._lists = LabelledLists(PackedText(), PackedText(), PackedText(), array("b"))

    def add(self, number: int, images: Sequence[str], text: str, label: int, *, id: str, group: str) -> None:
        """Add one item: entry `number` of the file.

        Raises:
            DataError: the number of images is wrong, or a path leaves the root.
        """
        self._add_images(number, images)
        self._lists.ids.append(id)
        self._lists.texts.append(text)
        self._lists.groups.append(group)
        self._lists.labels.append(label)

    def finish(self) -> tuple[ImageFiles, LabelledLists]:
        """Return what a `LabelledFiles` is made of.

        Raises:
            DataError: there are no items.
        """
        return self._image_files("entries"), self._lists


def label_of(entry: JsonObject, name: str, labels: Sequence[str], where: str) -> int:
    """Return the class that a field names, or `UNKNOWN` without such a field.

    Raises:
        DataError: the value is none of the labels.
    """
    if name not in entry:
        return UNKNOWN
    value = entry[name]
    text = str(value) if isinstance(value, str | bool) else repr(value)
    if text not in labels:
        raise DataError(
            f"{where}: field {name}: {value!r} is none of {', '.join(labels)}",
            remedy="Correct the label, or remove the entry from the file.",
        )
    return labels.index(text)
