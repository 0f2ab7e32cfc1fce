"""Names of data sets, from the names of their files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath

# Words in file names that distinguish the splits of a data set, or that say that it is one.
_WORDS = "dataset|train|training|val|valid|validation|dev|test|test1|restval|karpathy"
_SPLIT = re.compile(rf"(^|[-_.])({_WORDS})(?=$|[-_.])")
_NUMBERS = re.compile(r"\{\d+\.\.\d+\}|\d{3,}")
_SAME = {"mscoco": "coco", "f30k": "flickr30k"}


def data_sets_of_files(files: Iterable[str]) -> tuple[str, ...]:
    """Name the data sets of files after them, without the words for splits: `coco_train.json` is of `coco`."""
    return tuple(dict.fromkeys(_of_file(PurePath(file).name) for file in files))


def _of_file(name: str) -> str:
    stem = _NUMBERS.sub("", name.lower().split(".tar")[0].rsplit(".json", 1)[0].rsplit(".csv", 1)[0])
    rest = _SPLIT.sub("", stem).strip("-_.") or stem.strip("-_.")
    return _SAME.get(rest, rest)
