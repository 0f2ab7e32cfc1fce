"""A bundle that answers questions: its graphs behind an `Answerer`."""

from __future__ import annotations

import numpy as np

from cbalign.answering import Answerer
from cbalign.data.answer_list import ANSWERS_FILE, read_answers
from cbalign.encoders import FloatArray, IntArray, PixelArray
from cbalign.errors import BundleError, DataError
from cbalign.runtime.session import Session


class SessionAnswerGraphs:
    """Runs the graphs of a session; keeps `cbalign.answering.AnswerGraphs`."""

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
    """Answer questions with a bundle.

    Raises:
        BundleError: it is none of a model that answers questions, or its list of answers is damaged.
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
    return Answerer(SessionAnswerGraphs(session), session.tokenizer, answers, session.image_size)
