"""The closed list of answers that a model chooses from, read from a file or collected from the training data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cbalign.data.items import Question
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer
from cbalign.errors import DataError

ANSWERS_FILE = "answers.json"  # next to the tokenizer, in a run and in a bundle

_LEAST_COVERED = 0.5  # VQA v2's own list of 3,128 answers covers 93 % of its questions


def read_answers(file: str | Path) -> tuple[str, ...]:
    """Read a JSON list of distinct texts, such as ALBEF's `answer_list.json`.

    Raises:
        DataError: the file is something else; the message names file and entry.
    """
    try:
        answers = json.loads(Path(file).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"{file}: not a JSON list of answers ({error})") from error
    if not isinstance(answers, list) or not answers:
        raise DataError(f"{file}: expected a JSON list of answers, found {_short(answers)}")
    first: dict[str, int] = {}
    for number, answer in enumerate(answers, 1):
        if not isinstance(answer, str) or not answer.strip():
            raise DataError(f"{file}, entry {number}: expected an answer, found {_short(answer)}")
        if first.setdefault(answer, number) != number:
            raise DataError(f"{file}, entry {number}: {answer!r} is already entry {first[answer]}")
    return tuple(answers)


def write_answers(answers: Sequence[str], folder: Path) -> None:
    """Write the list to `folder / ANSWERS_FILE`."""
    text = json.dumps(list(answers), ensure_ascii=False, indent=0) + "\n"
    (folder / ANSWERS_FILE).write_text(text, encoding="utf-8")


def answers_of(source: Source[Question], minimum: int) -> tuple[str, ...]:
    """Collect the answers that are the most frequent answer to at least `minimum` questions, most frequent first.

    Raises:
        DataError: there are none.
    """
    counts: Counter[str] = Counter()
    for index in range(len(source)):
        answers = source.item(index).answers
        if answers:
            counts[max(answers, key=lambda answer: answer.count).text] += 1
    chosen = sorted((answer for answer, count in counts.items() if count >= minimum), key=lambda a: (-counts[a], a))
    if not chosen:
        raise DataError(
            f"{source.name}: no answer is the most frequent answer to {minimum:,} or more questions",
            remedy="Lower task.answer_minimum, or set task.answer_list to a file.",
        )
    return tuple(chosen)


def require_covered(answers: Sequence[str], source: Source[Question], name: str) -> None:
    """Check that a list has an answer to at least half of the questions.

    Args:
        answers: the list.
        source: questions with answers.
        name: of the list in messages.

    Raises:
        DataError: it has not; the message gives the first question without an answer.
    """
    known, lacking, asked = set(answers), 0, 0
    first: Question | None = None
    for index in range(len(source)):
        question = source.item(index)
        asked += bool(question.answers)
        if question.answers and not any(answer.text in known for answer in question.answers):
            lacking += 1
            first = first or question
    if first is not None and lacking > asked * (1 - _LEAST_COVERED):
        raise DataError(
            f"{name} contains no answer to {lacking:,} of {asked:,} questions of {source.name}; the first: "
            f"question {first.id}, {first.text!r}, answer {first.answers[0].text!r}",
            remedy="Set task.answer_list to a list for this data set, or to null to collect it from the training data.",
        )


def never_given(answers: Sequence[str], tokenizer: Tokenizer) -> dict[str, str]:
    """Map each answer with the same tokens as an earlier one to that answer, which the model gives instead."""
    first: dict[tuple[int, ...], str] = {}
    found = {answer: first.setdefault(tuple(tokenizer.word_ids(answer)), answer) for answer in answers}
    return {answer: given for answer, given in found.items() if given != answer}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
