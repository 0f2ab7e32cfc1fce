"""Foils about image files, in SugarCrepe's and Winoground's form.

    {"0": {"filename": "000000085329.jpg", "caption": text, "negative_caption": text}, …}          (SugarCrepe)
    {"id": 0, "image_0": "ex_0_img_0", "image_1": "ex_0_img_1", "caption_0": text, "caption_1": text,
     "tag": "Noun", "collapsed_tag": "Object", …}                                                   (Winoground)

SugarCrepe (Hsieh et al., NeurIPS 2023) has a file for each category; lists of such objects are read as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cbalign.data.files import FileBuilder, FileSource, ImageFiles, PackedText
from cbalign.data.items import Foil
from cbalign.data.json_stream import JsonObject, stream_objects, text_field
from cbalign.data.sections.foils import SugarCrepeSource, WinogroundSource
from cbalign.errors import DataError
from cbalign.parts import ItemKind

_TAGS = ("collapsed_tag", "tag")


class FoilFiles(FileSource[Foil]):
    """Foils about image files. Made by `FoilBuilder`."""

    def __init__(self, files: ImageFiles, captions: PackedText, categories: PackedText) -> None:
        super().__init__(files)
        self._captions = captions
        self._categories = categories

    def item(self, index: int) -> Foil:
        """Return foil `index`."""
        images = tuple(self._files.path(index, position) for position in range(self._files.per_item))
        captions = (self._captions[2 * index], self._captions[2 * index + 1])
        return Foil(self.where(index), images, captions, self._categories[index])

    def describe(self) -> str:
        """Describe the source in one line for logs."""
        return f"{self.name}: {len(self):,} foils below {self._folders}"


class FoilBuilder(FileBuilder):
    """Collects foils file by file; takes the arguments of `FileBuilder` and raises its errors."""

    def __init__(self, root: str | Path, per_item: int) -> None:
        super().__init__(root, per_item=per_item)
        self._captions = PackedText()
        self._categories = PackedText()

    def add(self, number: int, images: Sequence[str], captions: tuple[str, str], category: str) -> None:
        """Add one foil: entry `number` of the file.

        Raises:
            DataError: a path leaves the root, or the captions are the same.
        """
        if captions[0] == captions[1]:
            raise DataError(
                f"{self._names[-1]}, entry {number}: both captions are {captions[0]!r}", remedy="Remove the entry."
            )
        self._add_images(number, images)
        for caption in captions:
            self._captions.append(caption)
        self._categories.append(category)

    def finish(self) -> FoilFiles:
        """Return the source.

        Raises:
            DataError: there are no foils.
        """
        return FoilFiles(self._image_files("foils"), self._captions, self._categories)


def open_sugarcrepe(section: SugarCrepeSource, items: ItemKind) -> FoilFiles:
    """Open files in SugarCrepe's form.

    Raises:
        DataError: a file is missing or malformed, or an entry lacks a field; the message names file, entry and field.
    """
    foils = FoilBuilder(section.root, 1)
    for file in section.files:
        foils.start_file(file)
        for number, entry in _objects(file):
            where = f"{file}, entry {number}"
            captions = text_field(entry, "caption", where), text_field(entry, "negative_caption", where)
            foils.add(number, [text_field(entry, "filename", where)], captions, Path(file).stem)
    return foils.finish()


def open_winoground(section: WinogroundSource, items: ItemKind) -> FoilFiles:
    """Open files in Winoground's form (Thrush et al., CVPR 2022); raises what `open_sugarcrepe` raises."""
    foils = FoilBuilder(section.root, 2)
    for file in section.files:
        foils.start_file(file)
        for number, entry in _objects(file):
            where = f"{file}, entry {number}"
            images = [_image(text_field(entry, name, where)) for name in ("image_0", "image_1")]
            captions = text_field(entry, "caption_0", where), text_field(entry, "caption_1", where)
            tag = next((str(entry[name]) for name in _TAGS if entry.get(name)), Path(file).stem)
            foils.add(number, images, captions, tag)
    return foils.finish()


def _image(name: str) -> str:
    return name if Path(name).suffix else f"{name}.png"


def _objects(file: str) -> Iterator[tuple[int, JsonObject]]:
    """Iterate over the entries of a list, of JSON lines, or of one object whose values are the entries."""
    entries = list(stream_objects(file))
    inside = [value for _, whole in entries for value in whole.values() if isinstance(value, dict)]
    whole_file = len(entries) == 1 and len(inside) == len(entries[0][1])
    yield from enumerate(inside, 1) if whole_file else entries
