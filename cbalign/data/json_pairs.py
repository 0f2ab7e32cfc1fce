"""ALBEF's JSON lists: `[{"image": path, "caption": text or list, "image_id": anything}, …]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cbalign.data.json_stream import JsonObject, stream_objects
from cbalign.data.pairs import PairBuilder, PairFiles
from cbalign.data.sections.pairs import JsonSource
from cbalign.errors import DataError
from cbalign.parts import ItemKind


def open_section(section: JsonSource, items: ItemKind) -> PairFiles:
    """Open the source that a section describes."""
    return open_json(section.files, section.root)


def open_json(files: Sequence[str | Path], root: str | Path) -> PairFiles:
    """Read ALBEF's lists, one after the other.

    Entries of one file show the same image if they have the same `image_id` or, without one, the same path. Entries of
    different files must have the same path as well.

    Raises:
        DataError: a file is missing or malformed, or an entry lacks a field; the message names file, entry and field.
    """
    pairs = PairBuilder(root)
    for file in files:
        pairs.start_file(file)
        for number, entry in stream_objects(file):
            where = f"{file}, entry {number}"
            image_id = entry.get("image_id")
            pairs.add(
                number,
                _image(entry, where),
                _captions(entry, where),
                identity=None if image_id is None else repr(image_id),
            )
    return pairs.finish()


def _image(entry: JsonObject, where: str) -> str:
    image = _field(entry, "image", where)
    if not isinstance(image, str) or not image:
        raise DataError(f"{where}: field image: expected a path, found {image!r}")
    return image


def _captions(entry: JsonObject, where: str) -> list[str]:
    caption = _field(entry, "caption", where)
    if isinstance(caption, str):
        return [caption]
    if not isinstance(caption, list) or not caption:
        raise DataError(f"{where}: field caption: expected a text or a list of texts, found {caption!r}")
    for text in caption:
        if not isinstance(text, str):
            raise DataError(f"{where}: field caption: expected texts, found {text!r}")
    return caption


def _field(entry: JsonObject, name: str, where: str) -> object:
    if name not in entry:
        remedy = "Read a file of Karpathy's splits with `source: karpathy`." if "images" in entry else None
        raise DataError(f"{where}: no field {name} (fields: {', '.join(entry) or 'none'})", remedy=remedy)
    return entry[name]
