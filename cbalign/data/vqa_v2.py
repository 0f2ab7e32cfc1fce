"""The official files of VQA v2: questions, and annotations with the same `question_id`."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cbalign.data.json_stream import JsonObject, leading_text, stream_objects, text_field
from cbalign.data.questions import Annotations, QuestionBuilder, QuestionFiles
from cbalign.data.sections.questions import VQAv2Source
from cbalign.errors import DataError
from cbalign.parts import ItemKind


def open_section(section: VQAv2Source, items: ItemKind) -> QuestionFiles:
    """Open the source that a section describes."""
    return open_vqa_v2(section.questions, section.annotations, section.root, image=section.image)


def open_vqa_v2(
    questions: Sequence[str | Path], annotations: Sequence[str | Path], root: str | Path, *, image: str
) -> QuestionFiles:
    """Read questions and their annotations.

    Args:
        questions: `v2_OpenEnded_mscoco_…_questions.json`, one after the other.
        annotations: `v2_mscoco_…_annotations.json`, in any order; empty for a test set.
        root: folder of the images.
        image: pattern of their paths below the root, with `{subset}` (the file's `data_subtype`) and `{id}` (such as
            `{id:012}`).

    Raises:
        DataError: a file is missing or malformed, a question is repeated or has no annotation, or an annotation has no
            question; the message names file and entry.
    """
    builder = QuestionBuilder(root)
    known = _AnnotationsById(builder.annotations, annotations)
    question_ids = array("q")
    for file in questions:
        builder.start_file(file)
        subset = _subset(file) if "{subset" in image else ""
        for number, entry in stream_objects(file, field="questions"):
            where = f"{file}, entry {number}"
            question_id, image_id = _number(entry, "question_id", where), _number(entry, "image_id", where)
            question_ids.append(question_id)
            builder.add(
                number,
                image.format(subset=subset, id=image_id),
                text_field(entry, "question", where),
                question_id=question_id,
                row=known.take(question_id, image_id, where) if annotations else None,
            )
    known.require_all_used()
    source = builder.finish()
    _refuse_repeated(question_ids, source.where)
    return source


class _AnnotationsById:
    """Annotations by question; each is used once."""

    def __init__(self, annotations: Annotations, files: Sequence[str | Path]) -> None:
        self._files = files
        self._starts: list[int] = []
        question_ids, image_ids = array("q"), array("q")
        for file in files:
            self._starts.append(len(question_ids))
            for number, entry in stream_objects(file, field="annotations"):
                where = f"{file}, entry {number}"
                question_ids.append(_number(entry, "question_id", where))
                image_ids.append(_number(entry, "image_id", where))
                annotations.append(_answers(entry, where), _kind(entry, "answer_type"), _kind(entry, "question_type"))
        self._question_ids: NDArray[np.int64] = np.array(question_ids, np.int64)
        self._image_ids = image_ids
        self._order = np.argsort(self._question_ids, kind="stable")
        self._used = np.zeros(len(question_ids), bool)
        _refuse_repeated(question_ids, self._where)

    def take(self, question_id: int, image_id: int, where: str) -> int:
        """Return the row of a question's annotation."""
        at = int(np.searchsorted(self._question_ids, question_id, sorter=self._order))
        row = int(self._order[at]) if at < len(self._order) else -1
        if row < 0 or self._question_ids[row] != question_id:
            files = ", ".join(map(str, self._files))
            raise DataError(
                f"{where}: question_id {question_id} has no annotation in {files}",
                remedy="Set annotations to the file of the same subset, or leave it empty for a test set.",
            )
        if self._image_ids[row] != image_id:
            raise DataError(f"{where}: image_id {image_id}, but {self._where(row)} has {self._image_ids[row]}")
        self._used[row] = True
        return row

    def require_all_used(self) -> None:
        """Raise for annotations without a question."""
        left = np.flatnonzero(~self._used)
        if len(left):
            row = int(left[0])
            more = f", and {len(left) - 1:,} others" if len(left) > 1 else ""
            raise DataError(
                f"{self._where(row)}: question_id {self._question_ids[row]} has no question{more}",
                remedy="Set questions to the file of the same subset.",
            )

    def _where(self, row: int) -> str:
        file = bisect_right(self._starts, row) - 1
        return f"{self._files[file]}, entry {row - self._starts[file] + 1}"


def _refuse_repeated(question_ids: array[int], where: Callable[[int], str]) -> None:
    ids = np.array(question_ids, np.int64)
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if len(again):
        first, second = int(order[again[0]]), int(order[again[0] + 1])
        raise DataError(f"{where(second)}: question_id {ids[second]} is also in {where(first)}")


def _subset(file: str | Path) -> str:
    """Return the folder of a file's images, such as `train2014`; those of `test-dev2015` are in `test2015`."""
    subset = leading_text(file, "data_subtype", before="questions")
    if subset is None:
        raise DataError(
            f"{file}: no field data_subtype before the questions",
            remedy="Write the folder into the source's image pattern: image: train2014/COCO_train2014_{id:012}.jpg",
        )
    return subset.replace("-dev", "")


def _answers(entry: JsonObject, where: str) -> list[str]:
    given = entry.get("answers")
    answers = [one.get("answer") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    texts = [text for text in answers if isinstance(text, str)]
    if not texts or not isinstance(given, list) or len(texts) < len(given):
        raise DataError(f"{where}: field answers: expected a list of objects with a text `answer`, found {given!r}")
    return texts


def _kind(entry: JsonObject, field: str) -> str | None:
    value = entry.get(field)
    return value if isinstance(value, str) else None


def _number(entry: JsonObject, field: str, where: str) -> int:
    value = entry.get(field)
    if isinstance(value, bool) or not isinstance(value, int):
        found = repr(value) if field in entry else f"none (fields: {', '.join(entry) or 'none'})"
        raise DataError(f"{where}: field {field}: expected a whole number, found {found}")
    if not -(2**63) <= value < 2**63:
        raise DataError(f"{where}: field {field}: a whole number must fit into 64 bits")
    return value
