"""NLVR2's JSON lines, and ALBEF's lists of the same statements.

    {"identifier": "dev-850-0-0", "sentence": text, "label": "True", "directory": 12, …}      (published)
    {"images": [path, path], "sentence": text, "label": "True"}                               (ALBEF)

The published lines do not name files. An identifier is split-set-pair-sentence, and the images of the pair are
`split-set-pair-img0.png` (left) and `split-set-pair-img1.png` (right); those of the training split are in the folder
`directory`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from cbalign.data.items import STATEMENT_LABELS, Statement
from cbalign.data.json_stream import JsonObject, stream_objects, text_field
from cbalign.data.labelled_files import UNKNOWN, LabelledBuilder, LabelledFiles, label_of
from cbalign.data.sections.labelled import NLVR2Source
from cbalign.errors import DataError
from cbalign.parts import ItemKind

_IDENTIFIER_PARTS = 4


class StatementFiles(LabelledFiles[Statement]):
    """Statements about two image files."""

    noun = "statements about two images"

    def item(self, index: int) -> Statement:
        """Return statement `index`."""
        lists = self._lists
        label = lists.labels[index]
        return Statement(
            id=lists.ids[index],
            image_keys=(self._files.path(index, 0), self._files.path(index, 1)),
            text=lists.texts[index],
            label=None if label == UNKNOWN else bool(label),
            group=lists.groups[index],
        )


def open_section(section: NLVR2Source, items: ItemKind) -> StatementFiles:
    """Open the source that a section describes."""
    return open_nlvr2(section.files, section.root)


def open_nlvr2(files: Sequence[str | Path], root: str | Path) -> StatementFiles:
    """Read files of either form, one after the other.

    Raises:
        DataError: a file is missing or malformed, or an entry lacks a field or an image, or has an unknown label; the
            message names file, entry and field.
    """
    builder = LabelledBuilder(root, 2)
    folder = cache(lambda name: os.path.isdir(os.path.join(builder.roots[0].given, name)))
    for file in files:
        builder.start_file(file)
        for number, entry in stream_objects(file):
            where = f"{file}, entry {number}"
            sentence = text_field(entry, "sentence", where)
            label = label_of(entry, "label", STATEMENT_LABELS, where)
            if "identifier" in entry and "images" not in entry:
                identifier = text_field(entry, "identifier", where)
                parts = identifier.split("-")
                if len(parts) != _IDENTIFIER_PARTS:
                    raise DataError(
                        f"{where}: field identifier: expected split-set-pair-sentence, found {identifier!r}"
                    )
                below = [parts[0]] if folder(parts[0]) else []
                below += [str(entry["directory"])] if "directory" in entry else []
                pair = "/".join([*below, "-".join(parts[:3])])
                images = [f"{pair}-img0.png", f"{pair}-img1.png"]
                group = f"{parts[0]}-{parts[1]}--{parts[3]}"  # the same sentence about all pairs of its set
            else:
                images = _images(entry, where)
                identifier, group = str(entry.get("identifier", number)), sentence
            builder.add(number, images, sentence, label, id=identifier, group=group)
    return StatementFiles(builder.finish())


def _images(entry: JsonObject, where: str) -> list[str]:
    images = entry.get("images")
    if not isinstance(images, list) or not all(isinstance(path, str) and path for path in images):
        raise DataError(f"{where}: field images: expected two paths, found {images!r}")
    return images
