"""Questions about image files in memory.

Half a million questions with ten answers each take the bytes of their text plus about 100 bytes of numbers per
question.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cbalign.data.files import FileBuilder, FileSource, ImageFiles, PackedText
from cbalign.data.items import Answer, Question


@dataclass(frozen=True)
class Annotation:
    """The answers of the annotators to one question: distinct texts with their counts, and the types of question."""

    answers: tuple[tuple[str, int], ...]
    answer_type: str | None
    question_type: str | None


class Annotations:
    """A growing list of annotations; equal texts are stored once."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}
        self._by_number: list[str] = []
        self._answers = array("I")
        self._counts = array("I")
        self._ends = array("q", [0])
        self._types = array("I")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> Annotation:
        own = range(self._ends[row], self._ends[row + 1])
        return Annotation(
            tuple((self._by_number[self._answers[i]], self._counts[i]) for i in own),
            self._by_number[self._types[2 * row]] or None,
            self._by_number[self._types[2 * row + 1]] or None,
        )

    def append(self, answers: Sequence[str], answer_type: str | None = None, question_type: str | None = None) -> int:
        """Add one annotation and return its row. `answers` has one text per annotator."""
        for answer, count in Counter(answers).items():
            self._answers.append(self._number(answer))
            self._counts.append(count)
        self._ends.append(len(self._answers))
        self._types.append(self._number(answer_type or ""))
        self._types.append(self._number(question_type or ""))
        return len(self) - 1

    def _number(self, text: str) -> int:
        number = self._texts.setdefault(text, len(self._by_number))
        if number == len(self._by_number):
            self._by_number.append(text)
        return number


@dataclass(frozen=True)
class QuestionLists:
    """What questions consist of besides their images.

    Args:
        ids: of the questions, as JSON.
        texts: the questions.
        annotations: shared by the questions.
        rows: of each question in `annotations`; -1 if its answers are secret.
        weights: of all answers of each question together.
    """

    ids: PackedText
    texts: PackedText
    annotations: Annotations
    rows: array[int]
    weights: array[float]


class QuestionFiles(FileSource[Question]):
    """Questions about image files below one or more roots. Made by `QuestionBuilder`."""

    def __init__(self, files: ImageFiles, lists: QuestionLists) -> None:
        super().__init__(files)
        self._lists = lists

    def item(self, index: int) -> Question:
        """Return question `index`."""
        lists, row = self._lists, self._lists.rows[index]
        given = lists.annotations[row] if row >= 0 else Annotation((), None, None)
        annotators = sum(count for _, count in given.answers)
        weight = lists.weights[index]
        return Question(
            id=json.loads(lists.ids[index]),
            image_key=self._files.path(index),
            text=lists.texts[index],
            answers=tuple(Answer(text, weight * count / annotators, count) for text, count in given.answers),
            answer_type=given.answer_type,
            question_type=given.question_type,
        )

    def describe(self) -> str:
        """Describe the source in one line for logs."""
        answered = sum(row >= 0 for row in self._lists.rows)
        known = "" if answered == len(self) else f", {answered:,} with answers"
        return f"{self.name}: {len(self):,} questions{known}, images below {self._folders}"


class QuestionBuilder(FileBuilder):
    """Collects questions file by file.

    Args:
        roots: folders that image paths are relative to and cannot leave.

    Raises:
        DataError: a root does not exist.
    """

    def __init__(self, *roots: str | Path) -> None:
        super().__init__(*roots)
        self.annotations = Annotations()
        self._lists = QuestionLists(PackedText(), PackedText(), self.annotations, array("q"), array("d"))

    def add(
        self,
        number: int,
        image: str,
        text: str,
        *,
        question_id: int | str,
        row: int | None,
        weight: float = 1.0,
        root: int = 0,
    ) -> None:
        """Add one question.

        Args:
            number: in its file.
            image: path of the image, relative to the root or absolute below it.
            text: the question.
            question_id: its identifier in results.
            row: of its answers in `annotations`; None if they are secret.
            weight: of all its answers together.
            root: number of the root of the image.

        Raises:
            DataError: the path leaves the root.
        """
        self._add_images(number, [image], root)
        self._lists.ids.append(json.dumps(question_id))
        self._lists.texts.append(text)
        self._lists.rows.append(-1 if row is None else row)
        self._lists.weights.append(weight)

    def finish(self) -> QuestionFiles:
        """Return the source.

        Raises:
            DataError: there are no questions.
        """
        return QuestionFiles(self._image_files("questions"), self._lists)
