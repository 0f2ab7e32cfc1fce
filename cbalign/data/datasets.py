"""Which data set a source is part of, by name: what a model has seen in training must not be called zero-shot."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import assert_never

from cbalign.data.sections.drawings import EasyVQASource, OpenMojiSource, ScenesSource
from cbalign.data.sections.labelled import NLVR2Source, SNLIVESource
from cbalign.data.sections.pairs import CsvSource, JsonSource, KarpathySource, ShardSource
from cbalign.data.sections.questions import ALBEFQuestionsSource, VQAv2Source
from cbalign.experiment.data import Source

# Words of file names that tell splits of a data set apart, or that it is one.
_WORDS = "dataset|train|training|val|valid|validation|dev|test|test1|restval|karpathy"
_SPLIT = re.compile(rf"(^|[-_.])({_WORDS})(?=$|[-_.])")
_NUMBERS = re.compile(r"\{\d+\.\.\d+\}|\d{3,}")
_SAME = {"mscoco": "coco", "f30k": "flickr30k"}
_IMAGES_OF = {"vqa": "coco", "vg_qa": "vg"}  # ALBEF's lists of questions


def data_sets(section: Source) -> tuple[str, ...]:
    """Names of the data sets that a source is made of, such as `coco`; splits of one data set have the same.

    Lists are named by their files, without the words for splits: `coco_train.json` and `coco_test.json` are of `coco`.
    """
    match section:
        case OpenMojiSource():
            return ("openmoji",)
        case ScenesSource():
            return ("scenes",)
        case JsonSource() | CsvSource():
            return _of_files(section.files)
        case KarpathySource():
            return _of_files([section.file])
        case ShardSource():
            return _of_files(section.shards)
        case VQAv2Source():
            return ("coco",)  # its images are
        case ALBEFQuestionsSource():
            return tuple(dict.fromkeys(_IMAGES_OF.get(name, name) for name in _of_files(section.files)))
        case EasyVQASource():
            return ("easy-vqa",)
        case NLVR2Source():
            return ("nlvr2",)
        case SNLIVESource():
            return ("flickr30k",)  # its images are
        case _:
            assert_never(section)


def _of_files(files: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_of_file(PurePath(file).name) for file in files))


def _of_file(name: str) -> str:
    stem = _NUMBERS.sub("", name.lower().split(".tar")[0].rsplit(".json", 1)[0].rsplit(".csv", 1)[0])
    rest = _SPLIT.sub("", stem).strip("-_.") or stem.strip("-_.")
    return _SAME.get(rest, rest)
