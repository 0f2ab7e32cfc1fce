"""Questions about image files in memory: packed text and numbers, no Python object per question or answer.

Half a million questions with ten answers each cost the bytes of their text plus about 100 bytes of numbers per
question, and forked workers share them.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from cbalign.data.image import decode
from cbalign.data.items import Answer, Question
from cbalign.data.pairs import Files, ImageRoot, PackedText
from cbalign.errors import DataError, MissingImageError


@dataclass(frozen=True)
class Annotation:
    """What annotators say to one question: different answers with how many gave them, and the kinds of question."""

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
        """Add one annotation; its row. `answers` has one text per annotator."""
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


class QuestionFiles:
    """Questions about image files below one or more roots; keeps `ItemSource[Question]`. Made by `QuestionBuilder`.

    Args:
        files: where the questions come from.
        roots: folders of the images.
        root_of: which of them each question's image is in.
        ids: of the questions, as JSON.
        images: path of each question's image.
        texts: the questions.
        annotations: what they share.
        rows: of each question in `annotations`; -1 where its answers are secret.
        weights: of each question's answers together.
    """

    def __init__(
        self,
        files: Files,
        roots: tuple[ImageRoot, ...],
        root_of: array[int],
        ids: PackedText,
        images: PackedText,
        texts: PackedText,
        annotations: Annotations,
        rows: array[int],
        weights: array[float],
    ) -> None:
        self.name = ", ".join(files.names)
        self._files = files
        self._roots = roots
        self._root_of = root_of
        self._ids = ids
        self._images = images
        self._texts = texts
        self._annotations = annotations
        self._rows = rows
        self._weights = weights

    def __len__(self) -> int:
        return len(self._images)

    def item(self, index: int) -> Question:
        """Question `index`."""
        said = self._annotations[self._rows[index]] if self._rows[index] >= 0 else Annotation((), None, None)
        annotators = sum(count for _, count in said.answers)
        weight = self._weights[index]
        return Question(
            id=json.loads(self._ids[index]),
            image_key=self._images[index],
            text=self._texts[index],
            answers=tuple(Answer(text, weight * count / annotators, count) for text, count in said.answers),
            answer_type=said.answer_type,
            question_type=said.question_type,
        )

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """The image of question `index`, RGB.

        Raises:
            MissingImageError: it is not there.
            DataError: corrupt, or a link that leads outside the root.
        """
        label, path = self._locate(index)
        return (decode(path, name=label),)

    def read(self, index: int) -> tuple[bytes, ...]:
        """The image file of question `index`.

        Raises:
            MissingImageError: it is not there.
            DataError: unreadable, or a link that leads outside the root.
        """
        label, path = self._locate(index)
        try:
            return (Path(path).read_bytes(),)
        except FileNotFoundError:
            raise MissingImageError(f"{label}: no such image") from None
        except OSError as error:
            raise DataError(f"{label}: cannot be read ({error.strerror or error})") from error

    def where(self, index: int) -> str:
        """File and number of question `index`, for messages."""
        return self._files.where(index)

    def describe(self) -> str:
        """One line for logs."""
        answered = sum(row >= 0 for row in self._rows)
        known = "" if answered == len(self) else f", {answered:,} with answers"
        below = " and ".join(dict.fromkeys(root.given for root in self._roots))
        return f"{self.name}: {len(self):,} questions{known}, images below {below}"

    def _locate(self, index: int) -> tuple[str, str]:
        label = f"{self.where(index)}: image {self._images[index]}"
        root = self._roots[self._root_of[index]]
        path = root.resolve(self._images[index])
        if path is None:
            raise DataError(f"{label}: a path or link leads outside of the root {root.given}")
        return label, path


class QuestionBuilder:
    """Collects questions file by file.

    Args:
        roots: folders that image paths are relative to and cannot leave.

    Raises:
        DataError: a root is no folder.
    """

    def __init__(self, *roots: str | Path) -> None:
        self.annotations = Annotations()
        self._roots = tuple(ImageRoot.at(root) for root in roots)
        self._names: list[str] = []
        self._starts: list[int] = []
        self._numbers = array("q")
        self._root_of = array("B")
        self._ids = PackedText()
        self._images = PackedText()
        self._texts = PackedText()
        self._rows = array("q")
        self._weights = array("d")

    def __len__(self) -> int:
        return len(self._images)

    def start_file(self, name: str | Path) -> None:
        """The questions that follow come from this file."""
        self._names.append(str(name))
        self._starts.append(len(self))

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
        """One question.

        Args:
            number: in its file.
            image: path of the image, relative to the root or absolute below it.
            text: the question.
            question_id: as results name it.
            row: of its answers in `annotations`; None where they are secret.
            weight: of all its answers together.
            root: number of the root that the image is in.

        Raises:
            DataError: the path leaves the root.
        """
        if not self._roots[root].holds(image):
            raise DataError(
                f"{self._names[-1]}, entry {number}: image {image!r} is not inside the root {self._roots[root].given}",
                remedy="Set the source's root to the folder that holds the images.",
            )
        self._numbers.append(number)
        self._root_of.append(root)
        self._ids.append(json.dumps(question_id))
        self._images.append(image)
        self._texts.append(text)
        self._rows.append(-1 if row is None else row)
        self._weights.append(weight)

    def finish(self) -> QuestionFiles:
        """The source.

        Raises:
            DataError: there are no questions.
        """
        if not len(self):
            raise DataError(f"{', '.join(self._names)}: no questions")
        return QuestionFiles(
            Files(tuple(self._names), tuple(self._starts), self._numbers, "entry"),
            self._roots,
            self._root_of,
            self._ids,
            self._images,
            self._texts,
            self.annotations,
            self._rows,
            self._weights,
        )
