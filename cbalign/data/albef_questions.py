"""ALBEF's VQA lists: `[{"dataset": "vqa" or "vg", "image": path, "question": text, "answer": …}, …]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cbalign.data.json_stream import JsonObject, stream_objects
from cbalign.data.questions import QuestionBuilder, QuestionFiles
from cbalign.errors import DataError

_DATASETS = ("vqa", "vg")


def open_albef_questions(
    files: Sequence[str | Path], root: str | Path, *, genome_root: str | Path | None, genome_weight: float
) -> QuestionFiles:
    """Read ALBEF's lists, one after the other: `vqa_train.json`, `vg_qa.json`, `vqa_test.json` and their like.

    `answer` is a list with one text per annotator, or one text; without it answers are secret.

    Args:
        files: the lists.
        root: folder of the images of `dataset: vqa`.
        genome_root: folder of those of `dataset: vg`; None for the same.
        genome_weight: weight of Visual Genome's one answer, where VQA's ten have 1 together.

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
                question_id=id_field(entry, where) if "question_id" in entry else number,
                row=None if answers is None else questions.annotations.append(answers),
                weight=genome_weight if genome else 1.0,
                root=int(genome),
            )
    return questions.finish()


def text_field(entry: JsonObject, name: str, where: str) -> str:
    """A text of an entry that is not empty.

    Raises:
        DataError: it is something else, or not there.
    """
    if name not in entry:
        raise DataError(f"{where}: no field {name} (there are: {', '.join(entry) or 'none'})")
    value = entry[name]
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: field {name}: expected a text, found {value!r}")
    return value


def id_field(entry: JsonObject, where: str) -> int | str:
    """The `question_id` of an entry.

    Raises:
        DataError: it is neither a number nor a text, or not there.
    """
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
