"""Answering questions with three graphs, run by PyTorch or by an ONNX bundle; without torch.

The arithmetic around the graphs is in numpy and shared, so that both return the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cbalign.data.answer_list import ANSWERS_FILE, read_answers
from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.image import Preprocessing
from cbalign.data.text import Tokenizer
from cbalign.errors import BundleError, DataError
from cbalign.parts import EvaluationSection
from cbalign.parts.kinds import Split
from cbalign.runtime.session import Session
from cbalign.tasks.vqa.section import VQAEvaluation, VQATask

_ANSWERS_PER_CALL = 2048
"""Answers that are scored in one call: the graph holds a distribution over the vocabulary for each of their tokens."""


class AnswerGraphs(Protocol):
    """The three computations of an answering model."""

    def read_images(self, pixels: PixelArray) -> FloatArray:
        """Tokens (I, N, D) of prepared images (I, H, W, 3), uint8 RGB."""

    def read_questions(
        self, image_tokens: FloatArray, input_ids: IntArray, attention_mask: IntArray, image_index: IntArray
    ) -> FloatArray:
        """Fused tokens (Q, L, D) of questions (Q, L) about images `image_index` (Q,)."""

    def score_answers(
        self, question_tokens: FloatArray, question_mask: IntArray, answer_ids: IntArray, question_index: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """How likely answers (A, M) to questions `question_index` (A,) are.

        Returns:
            (A, M - 1) log-probability of each token after the first, given those before, and (A, V) of every token
            that may follow the last.
        """


@dataclass(frozen=True)
class Ranked:
    """The k most likely of a closed list of answers to each of Q questions, best first."""

    index: IntArray  # (Q, k) places in the list
    probability: FloatArray  # (Q, k), sums to one over these k


class Answerer:
    """Answers questions about images.

    Args:
        graphs: the computations of the model.
        tokenizer: of questions and answers.
        answers: the closed list that `rank` chooses from.
        preprocessing: how images become pixels.
    """

    def __init__(
        self, graphs: AnswerGraphs, tokenizer: Tokenizer, answers: Sequence[str], preprocessing: Preprocessing
    ) -> None:
        self.graphs = graphs
        self.tokenizer = tokenizer
        self.answers = tuple(answers)
        self.preprocessing = preprocessing
        self._tokens = tokenizer.encode_answers(self.answers)

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.preprocessing.size

    def rank(self, pixels: PixelArray, questions: Sequence[str], image_index: IntArray, top_k: int) -> Ranked:
        """Return the most likely answers of the list.

        The list is cut to the `top_k` answers whose first token is likeliest; these are scored whole. As published, an
        answer's score is log p(first token) + Σ log p(token), with the first token in the sum as well (ALBEF,
        models/model_vqa.py).

        Args:
            pixels: (I, H, W, 3) prepared images.
            questions: Q texts.
            image_index: (Q,) which image each is about.
            top_k: candidates that are scored whole; all where there are fewer.
        """
        question_tokens, mask = self._read(pixels, questions, image_index)
        _, first = self.graphs.score_answers(question_tokens, mask, self._starts(len(questions)), _each(len(questions)))
        first = first[:, self._tokens.input_ids[:, 1]]  # (Q, N)
        candidates = _largest(first, top_k)
        whole = self._likelihood(question_tokens, mask, candidates)
        scores = np.take_along_axis(first, candidates, axis=1) + whole
        order = np.argsort(-scores, axis=1, kind="stable")
        probability = _softmax(np.take_along_axis(scores, order, axis=1))
        return Ranked(np.take_along_axis(candidates, order, axis=1), probability)

    def generate(
        self, pixels: PixelArray, questions: Sequence[str], image_index: IntArray, max_tokens: int
    ) -> list[str]:
        """Return the answers of greedy decoding: the most likely token at each position, until [SEP].

        Args:
            pixels, questions, image_index: see `rank`.
            max_tokens: longest answer in tokens.
        """
        question_tokens, mask = self._read(pixels, questions, image_index)
        written, index = self._starts(len(questions)), _each(len(questions))
        ended = np.zeros(len(questions), bool)
        while written.shape[1] <= max_tokens and not ended.all():
            _, following = self.graphs.score_answers(question_tokens, mask, written, index)
            token = np.where(ended, self.tokenizer.sep_id, following.argmax(axis=1))
            written = np.concatenate([written, token[:, None]], axis=1)
            ended |= token == self.tokenizer.sep_id
        return [self.tokenizer.decode(row) for row in written[:, 1:].tolist()]

    def _read(self, pixels: PixelArray, questions: Sequence[str], image_index: IntArray) -> tuple[FloatArray, IntArray]:
        tokens = self.tokenizer.encode(questions)
        images = self.graphs.read_images(pixels)
        fused = self.graphs.read_questions(images, tokens.input_ids, tokens.attention_mask, image_index)
        return fused, tokens.attention_mask

    def _starts(self, questions: int) -> IntArray:
        return np.full((questions, 1), self.tokenizer.start_id, np.int64)

    def _likelihood(self, question_tokens: FloatArray, mask: IntArray, candidates: IntArray) -> FloatArray:
        """Σ log p(token) (Q, k) of candidates (Q, k)."""
        answers, each = candidates.ravel(), np.repeat(_each(len(candidates)), candidates.shape[1])
        sums = np.empty(len(answers), np.float32)
        for start in range(0, len(answers), _ANSWERS_PER_CALL):
            part = slice(start, start + _ANSWERS_PER_CALL)
            ids, counted = self._tokens.input_ids[answers[part]], self._tokens.attention_mask[answers[part], 1:]
            # Only the questions of this part, because each call computes their keys and values again.
            first, last = each[part][0], each[part][-1] + 1
            log_p, _ = self.graphs.score_answers(question_tokens[first:last], mask[first:last], ids, each[part] - first)
            sums[part] = (log_p * counted).sum(axis=1)
        return sums.reshape(candidates.shape)


def _each(count: int) -> IntArray:
    return np.arange(count, dtype=np.int64)


def _largest(scores: FloatArray, count: int) -> IntArray:
    """Places (Q, k) of the largest of each row (Q, N), of equal ones the first."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def _softmax(scores: FloatArray) -> FloatArray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class SessionAnswerGraphs:
    """Runs the graphs of a session; implements `AnswerGraphs`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read_images(self, pixels: PixelArray) -> FloatArray:
        """Tokens (I, N, D) of prepared images, `session.batch_size` at a time."""
        size = self._session.batch_size
        starts = range(0, max(1, len(pixels)), size)
        return np.concatenate([self._session.run("vision", pixels[start : start + size])[0] for start in starts])

    def read_questions(
        self, image_tokens: FloatArray, input_ids: IntArray, attention_mask: IntArray, image_index: IntArray
    ) -> FloatArray:
        """Fused tokens (Q, L, D) of questions."""
        return self._session.run("question", image_tokens, input_ids, attention_mask, image_index)[0]

    def score_answers(
        self, question_tokens: FloatArray, question_mask: IntArray, answer_ids: IntArray, question_index: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Log-probabilities (A, M - 1) of the tokens, and (A, V) of what may follow."""
        token, following = self._session.run("answer", question_tokens, question_mask, answer_ids, question_index)
        return token, following


def open_answerer(session: Session) -> Answerer:
    """Open the model of a bundle.

    Raises:
        BundleError: the model does not answer questions, or the list of answers is damaged.
    """
    bundle = session.bundle
    if ANSWERS_FILE not in bundle.manifest.files or "answer" not in bundle.manifest.graphs:
        raise BundleError(
            f"{bundle.folder} does not answer questions: it has no {ANSWERS_FILE} or no answer graph",
            remedy="Name a bundle that was exported from a run of task vqa.",
        )
    try:
        answers = read_answers(bundle.folder / ANSWERS_FILE)
    except DataError as error:
        raise BundleError(error.message, remedy="Copy the bundle again.") from error
    return Answerer(SessionAnswerGraphs(session), session.tokenizer, answers, session.preprocessing)


class VQARuntime:
    """Implements `cbalign.runtime.task.TaskRuntime`.

    Args:
        section: the task in a spec.
    """

    def __init__(self, section: VQATask) -> None:
        self._section = section

    def open(self, session: Session) -> Answerer:
        """Open the model of a bundle; see `open_answerer`."""
        return open_answerer(session)

    def default_evaluation(self, model: Answerer, split: Split) -> EvaluationSection:
        """Return an evaluation that ranks answers."""
        return VQAEvaluation(kind="vqa", on=split)

    def golden_outputs(self, model: Answerer, pixels: PixelArray, texts: Sequence[str]) -> dict[str, FloatArray]:
        """Run all graphs on prepared images (B, H, W, 3) and as many questions."""
        return answering_outputs(model, pixels, texts)

    def usage(self) -> str:
        """Return example code that answers a question."""
        return _USAGE


def answering_outputs(answerer: Answerer, pixels: PixelArray, questions: Sequence[str]) -> dict[str, FloatArray]:
    """Run all graphs on prepared images (B, H, W, 3) and as many questions."""
    graphs, tokenizer, index = answerer.graphs, answerer.tokenizer, np.arange(len(questions))
    asked = tokenizer.encode(questions)
    tokens = graphs.read_questions(
        graphs.read_images(pixels), asked.input_ids, asked.attention_mask, index % len(pixels)
    )
    answers = tokenizer.encode_answers([answerer.answers[i % len(answerer.answers)] for i in index]).input_ids
    token, following = graphs.score_answers(tokens, asked.attention_mask, answers, index)
    return {"question_tokens": tokens, "token": token, "following": following}


_USAGE = """\
import numpy as np

from cbalign.runtime.images import load_pixels
from cbalign.runtime.session import Session
from cbalign.tasks.vqa.runtime import open_answerer

answerer = open_answerer(Session.open("."))
pixels = load_pixels(["picture.png"], answerer.preprocessing)
ranked = answerer.rank(pixels, ["What colour is the car?"], np.array([0]), top_k=128)
print(answerer.answers[ranked.index[0, 0]], ranked.probability[0, 0])
"""
