"""Karpathy's splits: `dataset_flickr30k.json`, `dataset_coco.json` and files of the same form."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cbalign.data.json_stream import JsonObject, stream_objects
from cbalign.data.pairs import PairBuilder, PairFiles
from cbalign.data.sections.pairs import KarpathySource
from cbalign.errors import DataError
from cbalign.parts import ItemKind
from cbalign.parts.kinds import Split

_SPLITS: dict[Split, tuple[str, ...]] = {
    # COCO's restval are validation images that retrieval trains on: 113,287 in all.
    "train": ("train", "restval"),
    "validation": ("val",),
    "test": ("test",),
}


def open_section(section: KarpathySource, items: ItemKind) -> PairFiles:
    """Open the source that a section describes."""
    return open_karpathy(section.file, section.root, split=section.split, entries=section.entries)


def open_karpathy(
    file: str | Path, root: str | Path, *, split: Split, entries: Literal["captions", "images"]
) -> PairFiles:
    """Read one split.

    Args:
        file: an object with the list `images`. Its objects have `split`, `filename`, optionally a folder `filepath`,
            and `sentences` whose text is in `raw`.
        root: folder that image paths are relative to.
        split: the split; `train` includes `restval`.
        entries: one pair for each caption or for each image.

    Raises:
        DataError: the file is missing or malformed; the message names file, entry and field.
    """
    pairs = PairBuilder(root)
    pairs.start_file(file)
    for number, image in stream_objects(file, field="images"):
        where = f"{file}, entry {number}"
        if _text(image, "split", where) not in _SPLITS[split]:
            continue
        path = _text(image, "filename", where)
        if "filepath" in image:
            path = f"{_text(image, 'filepath', where)}/{path}"
        captions = _captions(image, where)
        for together in [captions] if entries == "images" else [[caption] for caption in captions]:
            pairs.add(number, path, together)
    if not len(pairs):
        raise DataError(f"{file}: no images of the split {split}")
    return pairs.finish()


def _captions(image: JsonObject, where: str) -> list[str]:
    sentences = image.get("sentences")
    if not isinstance(sentences, list) or not sentences:
        raise DataError(f"{where}: field sentences: expected a list of objects, found {sentences!r}")
    captions = []
    for sentence in sentences:
        caption = sentence.get("raw") if isinstance(sentence, dict) else None
        if not isinstance(caption, str):
            raise DataError(f"{where}: field sentences: a sentence has no text in its field raw")
        captions.append(caption)
    return captions


def _text(image: JsonObject, field: str, where: str) -> str:
    value = image.get(field)
    if not isinstance(value, str):
        raise DataError(f"{where}: field {field}: expected a text, found {value!r}")
    return value
