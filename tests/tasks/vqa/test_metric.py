from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cbalign.data.image import Preprocessing
from cbalign.data.items import Answer, Question
from cbalign.errors import DataError, DivergenceError, MissingImageError
from cbalign.evaluation.result import EvaluationDocument, file_name
from cbalign.evaluation.table import format_table, markdown_table
from cbalign.tasks.vqa.metric import VQAEvaluator
from cbalign.tasks.vqa.runtime import Answerer, Ranked
from cbalign.tasks.vqa.section import VQAEvaluation

ANSWERS = ("yes", "no", "red", "2")


class Asked:
    """Questions about two pictures; the model is told its answer by the question's text."""

    name = "asked"

    def __init__(self, questions: Sequence[Question], missing: str = "") -> None:
        self._questions = questions
        self._missing = missing

    def __len__(self) -> int:
        return len(self._questions)

    def item(self, index: int) -> Question:
        return self._questions[index]

    def images(self, index: int) -> tuple[Image.Image, ...]:
        key = self._questions[index].image_key
        if key == self._missing:
            raise MissingImageError(f"{key}: no such image")
        return (Image.new("RGB", (4, 4), key),)

    def read(self, index: int) -> tuple[bytes, ...]:
        raise NotImplementedError

    def describe(self) -> str:
        return self.name


class Told(Answerer):
    def __init__(self, likelihood: float = 1.0) -> None:
        self.answers = ANSWERS
        self.preprocessing = Preprocessing(4)
        self.likelihood = likelihood
        self.pixels: list[int] = []

    def rank(self, pixels: np.ndarray, questions: Sequence[str], image_index: np.ndarray, top_k: int) -> Ranked:
        self.pixels.append(len(pixels))
        assert [tuple(pixels[i, 0, 0]) for i in image_index] == [_colour(text) for text in questions]
        best = np.array([[ANSWERS.index(text.split()[0])] for text in questions])
        return Ranked(best, np.full(best.shape, self.likelihood, np.float32))

    def generate(
        self, pixels: np.ndarray, questions: Sequence[str], image_index: np.ndarray, max_tokens: int
    ) -> list[str]:
        return ["maybe"] * len(questions)


def _colour(text: str) -> tuple[int, ...]:
    return {"lime": (0, 255, 0), "blue": (0, 0, 255)}[text.split()[1]]


def annotated(*answers: tuple[str, int]) -> tuple[Answer, ...]:
    return tuple(Answer(text, count / 10, count) for text, count in answers)


QUESTIONS = (
    Question(1, "lime", "yes lime", annotated(("yes", 10)), answer_type="yes/no"),
    Question(2, "lime", "no lime", annotated(("yes", 8), ("no", 2)), answer_type="yes/no"),  # 0.6
    Question(3, "blue", "red blue", annotated(("red.", 3), ("blue", 7)), answer_type="other"),  # 0.9
    Question(4, "blue", "2 blue", (Answer("two", 1.0, 1),)),  # one answer: exact match, normalised; a number
)


def section(**changes: object) -> VQAEvaluation:
    return VQAEvaluation.model_validate({"kind": "vqa", "bootstrap": 0, **changes})


def test_answers_are_scored_and_told_by_kind() -> None:
    model = Told()
    (result,) = VQAEvaluator(section(bootstrap=50)).evaluate(model, Asked(QUESTIONS))
    assert result.predictions == ("yes", "no", "red", "2")
    assert result.scores.tolist() == pytest.approx([1.0, 0.6, 0.9, 1.0])
    assert result.metrics == pytest.approx({"accuracy": 87.5, "accuracy_yes_no": 80, "accuracy_other": 95})
    assert result.interval is not None
    assert model.pixels == [2], "each image is read once"
    assert file_name(result, 7) == "validation-rank4-step7.json"


def test_generated_answers_stand_beside_ranked_ones() -> None:
    both = VQAEvaluator(section(protocols=("rank", "generate"), top_k=2)).evaluate(Told(), Asked(QUESTIONS))
    assert [result.protocol_name for result in both] == ["rank top 2", "generate"]
    assert both[1].metrics["generated_accuracy"] == 0
    evaluation = EvaluationDocument("run", 1, "torch", both, {}, "now")
    again = EvaluationDocument.from_json(evaluation.to_json()).results
    assert [one.to_json() for one in again] == [one.to_json() for one in both]


def test_secret_answers_give_predictions_only() -> None:
    secret = [replace(question, answers=()) for question in QUESTIONS]
    (result,) = VQAEvaluator(section()).evaluate(Told(), Asked(secret))
    assert result.metrics == {}
    assert result.headlines() == {}
    assert len(result.scores) == 0
    for text in (format_table([result]), markdown_table([result])):
        assert "answers are not public" in text
        assert "%" not in text


def test_evalai_gets_one_answer_to_each_question() -> None:
    (result,) = VQAEvaluator(section()).evaluate(Told(), Asked([*QUESTIONS, replace(QUESTIONS[0], text="no lime")]))
    assert json.loads(VQAEvaluator(section()).predictions_file(result)) == [
        {"question_id": 1, "answer": "yes"},
        {"question_id": 2, "answer": "no"},
        {"question_id": 3, "answer": "red"},
        {"question_id": 4, "answer": "2"},
    ]


def test_questions_without_image_are_left_out_up_to_the_limit() -> None:
    source = Asked(QUESTIONS, missing="blue")
    (result,) = VQAEvaluator(section()).evaluate(Told(), source, corrupt_limit=0.5)
    assert (result.items, result.skipped, result.ids) == (2, 2, (1, 2))
    with pytest.raises(DataError, match="blue: no such image"):
        VQAEvaluator(section()).evaluate(Told(), source, corrupt_limit=0.1)


def test_likelihoods_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DivergenceError, match="not numbers"):
        VQAEvaluator(section()).evaluate(Told(float("nan")), Asked(QUESTIONS))
