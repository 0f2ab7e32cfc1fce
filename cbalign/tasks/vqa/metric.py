"""The accuracy of answers: the official VQA accuracy, and exact match where one person answered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import IntArray, PixelArray
from cbalign.data.items import Question
from cbalign.data.progress import ProgressCallback, no_progress
from cbalign.data.source import Source
from cbalign.evaluation.accuracy import accuracy_by_kind, exact_match, vqa_accuracy
from cbalign.evaluation.answers import answer_type
from cbalign.evaluation.items import ItemResults, hash_items, measure_items, require_finite
from cbalign.evaluation.process_group import SINGLE_PROCESS, ProcessGroup
from cbalign.evaluation.scored import ScoredResult, interval_of
from cbalign.runtime.document import json_line
from cbalign.tasks.vqa.runtime import Answerer
from cbalign.tasks.vqa.section import METRIC_OF, AnswerProtocol, VQAEvaluation


class VQAEvaluator:
    """Implements `cbalign.evaluation.evaluator.Evaluator` for models that answer questions.

    Questions whose answers are not public get predictions only.
    """

    def __init__(self, section: VQAEvaluation) -> None:
        self._section = section

    def evaluate(
        self,
        model: Answerer,
        source: Source[Question],
        *,
        corrupt_limit: float = 0.0,
        report: ProgressCallback = no_progress,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> tuple[ScoredResult, ...]:
        """Measure answers by each protocol of the section; see `Evaluator.evaluate`.

        Raises:
            DataError: too many images are unreadable.
            DivergenceError: the model returns likelihoods that are not finite.
        """
        section, results = self._section, []
        for protocol in section.protocols:
            found = measure_items(
                source,
                lambda pixels, questions, protocol=protocol: _answer(model, pixels, questions, section, protocol),  # type: ignore[misc]
                preprocessing=model.preprocessing,
                batch_size=section.batch_size,
                corrupt_limit=corrupt_limit,
                report=report,
                process_group=process_group,
            )
            setting = f"top {min(section.top_k, len(model.answers))}" if protocol == "rank" else ""
            results.append(_result(source, section, found, protocol, setting, model.image_size))
        return tuple(results)

    def predictions_file(self, result: ScoredResult) -> str:
        """Write answers in EvalAI's format: `[{"question_id": …, "answer": …}, …]`, one for each question."""
        first: dict[int | str, str] = {}
        for question, answer in zip(result.ids, result.predictions, strict=True):
            first.setdefault(question, answer)
        return json_line([{"question_id": question, "answer": answer} for question, answer in first.items()])


def question_score(answer: str, question: Question) -> float:
    """Score an answer in [0, 1]: the official accuracy, or exact match where one person answered."""
    annotators = [given.text for given in question.answers for _ in range(given.count)]
    return exact_match(answer, annotators[0]) if len(annotators) == 1 else vqa_accuracy(answer, annotators)


def _answer(
    answerer: Answerer,
    pixels: PixelArray,
    questions: Sequence[Question],
    section: VQAEvaluation,
    protocol: AnswerProtocol,
) -> list[str]:
    """Answer each question; an image of several questions is encoded once."""
    first, image_index = _images_once([question.image_key for question in questions])
    images, texts = pixels[first, 0], [question.text for question in questions]
    if protocol == "generate":
        return answerer.generate(images, texts, image_index, section.max_tokens)
    ranked = answerer.rank(images, texts, image_index, section.top_k)
    require_finite(ranked.probability, "likelihoods")
    return [answerer.answers[best] for best in ranked.index[:, 0]]


def _images_once(keys: Sequence[str]) -> tuple[IntArray, IntArray]:
    """Return the first position of each image, and which of these images each question is about."""
    _, first, inverse = np.unique(np.array(keys), return_index=True, return_inverse=True)
    return first.astype(np.int64), inverse.astype(np.int64)


def _result(
    source: Source[Question],
    section: VQAEvaluation,
    found: ItemResults[str],
    protocol: AnswerProtocol,
    setting: str,
    image_size: int,
) -> ScoredResult:
    questions = [source.item(position) for position in found.positions]
    known = bool(questions) and all(question.answers for question in questions)
    scores = np.array([question_score(a, q) for a, q in zip(found.findings, questions)] if known else [], np.float64)
    return ScoredResult(
        protocol=protocol,
        setting=setting,
        split=section.on,
        source=source.name,
        gallery=hash_items("\t".join((*q.image_keys, *q.texts, *q.outputs)) for q in questions),
        items=len(questions),
        skipped=found.skipped,
        image_size=image_size,
        ids=tuple(question.id for question in questions),
        predictions=found.findings,
        scores=scores,
        metrics=_metrics(METRIC_OF[protocol], questions, scores) if known else {},
        interval=interval_of(scores, section.bootstrap) if known else None,
    )


def _metrics(name: str, questions: Sequence[Question], scores: NDArray[np.float64]) -> dict[str, float]:
    """Average over all questions, and over those of each answer type: `accuracy_yes_no`."""
    kinds = [q.answer_type or answer_type(max(q.answers, key=lambda answer: answer.count).text) for q in questions]
    by_kind = {kind.replace("/", "_"): share.accuracy for kind, share in accuracy_by_kind(scores, kinds).items()}
    return {name: 100 * float(scores.mean())} | {f"{name}_{kind}": accuracy for kind, accuracy in by_kind.items()}
