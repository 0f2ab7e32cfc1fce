"""Batches of questions: each with all answers that annotators gave, weighted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cbalign.data.batch import TensorBatch
from cbalign.data.collate import ArrayBatch, Drawn, ItemCollation
from cbalign.data.items import ItemSource, Question
from cbalign.data.text import Tokenizer
from cbalign.encoders import FloatArray, IntArray, PixelArray
from cbalign.errors import DataError


@dataclass(frozen=True, kw_only=True)
class QuestionBatch(TensorBatch):
    """B questions with A answers in all."""

    images: Tensor  # (B, 3, H, W) uint8
    teacher_images: Tensor | None  # (B, 3, H, W) uint8: a second augmentation, or None for the same view
    input_ids: Tensor  # (B, L) int64, padded to the longest question
    attention_mask: Tensor  # (B, L) int64, 1 on tokens
    answer_ids: Tensor  # (A, M) int64, [CLS] answer [SEP], padded to the longest
    answer_mask: Tensor  # (A, M) int64, 1 on tokens
    answer_weights: Tensor  # (A,) float32: the share of annotators who gave it
    question_of_answer: Tensor  # (A,) int64, rising


@dataclass(frozen=True, kw_only=True)
class QuestionArrays(ArrayBatch):
    """`QuestionBatch` as arrays."""

    images: PixelArray
    teacher_images: PixelArray | None
    input_ids: IntArray
    attention_mask: IntArray
    answer_ids: IntArray
    answer_mask: IntArray
    answer_weights: FloatArray
    question_of_answer: IntArray


class QuestionCollation(ItemCollation):
    """Questions with their answers."""

    def __init__(self, source: ItemSource[Question], tokenizer: Tokenizer) -> None:
        super().__init__(source)
        self._source = source
        self._tokenizer = tokenizer

    def collate(self, drawn: Drawn) -> QuestionArrays:
        """A batch of questions.

        Raises:
            DataError: a question has no answers.
        """
        questions = [self._source.item(int(index)) for index in drawn.indices]
        for question in questions:
            if not question.answers:
                raise DataError(
                    f"{self.name}: question {question.id} has no answers",
                    remedy="Secret answers cannot be trained on: name the annotations of the split.",
                )
        asked = self._tokenizer.encode([question.text for question in questions])
        given = [answer for question in questions for answer in question.answers]
        answers = self._tokenizer.encode_answers([answer.text for answer in given])
        return QuestionArrays(
            indices=drawn.indices,
            images=drawn.images[:, 0],
            teacher_images=None if drawn.teacher_images is None else drawn.teacher_images[:, 0],
            input_ids=asked.input_ids,
            attention_mask=asked.attention_mask,
            answer_ids=answers.input_ids,
            answer_mask=answers.attention_mask,
            answer_weights=np.array([answer.weight for answer in given], np.float32),
            question_of_answer=np.repeat(np.arange(len(questions)), [len(q.answers) for q in questions]),
        )
