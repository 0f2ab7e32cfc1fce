"""ALBEF's VQA lists: `[{"dataset": "vqa" or "vg", "image": path, "question": text, "answer": …}, …]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cbalign.data.json_stream import JsonObject, stream_objects, text_field
from cbalign.data.questions import QuestionBuilder, QuestionFiles
from cbalign.data.sections.questions import ALBEFQuestionsSource
from cbalign.errors import DataError
from cbalign.parts import ItemKind

_DATASETS = ("vqa", "vg")


def open_section(section: ALBEFQuestionsSource, items: ItemKind) -> QuestionFiles:
    """Open the source that a section describes."""
    return open_albef_questions(
        section.files, section.root, genome_root=section.genome_root, genome_weight=section.genome_weight
    )


def open_albef_questions(
    files: Sequence[str | Path], root: str | Path, *, genome_root: str | Path | None, genome_weight: float
) -> QuestionFiles:
    """Read ALBEF's lists, one after the other: `vqa_train.json`, `vg_qa.json`, `vqa_test.json` and similar files.

    `answer` is a list with one text per annotator, or one text; without it the answers are secret.

    Args:
        files: the lists.
        root: folder of the images of `dataset: vqa`.
        genome_root: folder of the images of `dataset: vg`; None for the same folder.
        genome_weight: weight of Visual Genome's one answer; VQA's ten answers have 1 in total.

    Raises:
        DataError: a file is missing or malformed, or an entry lacks a field; the message names file, entry and field.
    """
    questions = QuestionBuilder(root, root if genome_root is None else genome_root)
    for file in files:
        questions.start_file(file)
        for number, entry in stream_objects(file):
            where = f"{file}, entry {number}"
            genome = _dataset(entry, where) == "vg"
            answers = _answers(entry, where)
            questions.add(
                number,
                text_field(entry, "image", where),
                text_field(entry, "question", where),
                question_id=_id(entry, where) if "question_id" in entry else number,
                row=None if answers is None else questions.annotations.append(answers),
                weight=genome_weight if genome else 1.0,
                root=int(genome),
            )
    return questions.finish()


def _id(entry: JsonObject, where: str) -> int | str:
    value = entry.get("question_id")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{where}: field question_id: expected a number or a text, found {value!r}")
    return value


def _dataset(entry: JsonObject, where: str) -> str:
    dataset = entry.get("dataset", "vqa")
    if dataset not in _DATASETS:
        raise DataError(f"{where}: field dataset: expected {' or '.join(_DATASETS)}, found {dataset!r}")
    assert isinstance(dataset, str)
    return dataset


def _answers(entry: JsonObject, where: str) -> list[str] | None:
    answer = entry.get("answer")
    if answer is None:
        return None
    answers = [answer] if isinstance(answer, str) else answer
    if not isinstance(answers, list) or not answers or not all(isinstance(text, str) for text in answers):
        raise DataError(f"{where}: field answer: expected a text or a list of texts, found {answer!r}")
    return answers
