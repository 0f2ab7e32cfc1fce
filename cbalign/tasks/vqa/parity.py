"""Export and parity checks of models that answer questions.

The checks compare, in order: every output of every graph for several batch sizes and lengths; a question alone and next
to a longer one; token ids and pixels of raw inputs; the answers and their accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cbalign.data.answer_list import write_answers
from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.image import Preprocessing, prepare
from cbalign.data.items import Question
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer, Tokens
from cbalign.data.wrapped_source import FirstItems
from cbalign.evaluation.scored import ScoredResult
from cbalign.exporting.exportable import parameter_bytes
from cbalign.exporting.parity import WHOLE, Feed, difference
from cbalign.exporting.parity_checks import ParityChecks, Part
from cbalign.exporting.sample import BATCHES, batch_sizes, readable_items, texts_of_all_lengths
from cbalign.exporting.scored import scored_checks
from cbalign.runtime.golden import write_golden
from cbalign.runtime.precisions import REFERENCE
from cbalign.runtime.session import Session
from cbalign.tasks.vqa.graphs import TorchAnswerer
from cbalign.tasks.vqa.metric import VQAEvaluator
from cbalign.tasks.vqa.runtime import Answerer, answering_outputs, open_answerer
from cbalign.tasks.vqa.section import VQAEvaluation

_TASK_QUESTIONS = 512
_CANDIDATES = 128
_GOLDEN_QUESTIONS = 4


@dataclass(frozen=True)
class AnsweringExportable:
    """Implements `Exportable` for question answering.

    Args:
        answerer: the trained model, on the CPU.
        questions: real questions; at least one has a readable image.
        positions: positions of the compared questions in the source.
        pixels: their prepared images (B, H, W, 3).
        texts: the questions; the first is the shortest, the second is long.
        results: accuracy of the answers.
    """

    answerer: TorchAnswerer
    questions: Source[Question]
    positions: tuple[int, ...]
    pixels: PixelArray
    texts: tuple[str, ...]
    results: tuple[ScoredResult, ...]

    @classmethod
    def of(cls, answerer: TorchAnswerer, source: Source[Question]) -> AnsweringExportable:
        """Run the model on real questions.

        Raises:
            DataError: no image can be read.
        """
        answerer.network.eval()
        questions = FirstItems(source, _TASK_QUESTIONS)
        positions, pixels = readable_items(questions, answerer.preprocessing)
        texts = texts_of_all_lengths(questions, 2 * answerer.tokenizer.settings.max_words)
        return cls(answerer, questions, positions, pixels[:, 0], texts, _evaluate(answerer, questions))

    @property
    def graphs(self) -> Mapping[str, nn.Module]:
        """Image tower, question encoder, and decoder step."""
        return self.answerer.torch_graphs.graphs

    @property
    def tokenizer(self) -> Tokenizer:
        """The answerer's."""
        return self.answerer.tokenizer

    @property
    def preprocessing(self) -> Preprocessing:
        """Input size and pixel statistics of the image tower."""
        return self.answerer.network.vision.preprocessing

    @property
    def weights(self) -> int:
        """Weights of the student."""
        return parameter_bytes(self.answerer.network)

    @property
    def source(self) -> str:
        """Name of the questions."""
        return self.questions.name

    def examples(self) -> Mapping[str, tuple[Tensor, ...]]:
        """Return three images, five questions about them, and seven answers."""
        asked = self.tokenizer.encode([self.texts[i % len(self.texts)] for i in range(5)])
        pixels, index = self.pixels[np.arange(3) % len(self.pixels)], np.arange(5) % 3
        image_tokens = self.answerer.graphs.read_images(pixels)
        inputs = (image_tokens, asked.input_ids, asked.attention_mask, index)
        tokens = self.answerer.graphs.read_questions(*inputs)
        # At least two tokens after [CLS], or the exporter would treat their number as a constant.
        answers = self.tokenizer.encode_answers([*(self.answerer.answers * 7)[:6], "two words"]).input_ids
        return {
            "vision": (torch.from_numpy(pixels),),
            "question": _tensors(inputs),
            "answer": _tensors((tokens, asked.attention_mask, answers, np.arange(7) % 5)),
        }

    def write_assets(self, folder: Path) -> None:
        """Write the closed list of answers."""
        write_answers(self.answerer.answers, folder)

    def parity_checks(self, session: Session, precision: str, report: Callable[[str], None]) -> AnsweringChecks:
        """Return the question-answering checks."""
        return AnsweringChecks(self, open_answerer(session), session, precision, report)

    def write_golden(self, sessions: Mapping[str, Session], path: Path) -> None:
        """Record the outputs for a few questions."""
        pixels, texts = self.pixels[:_GOLDEN_QUESTIONS], self.texts[:_GOLDEN_QUESTIONS]
        outputs = {name: answering_outputs(open_answerer(side), pixels, texts) for name, side in sessions.items()}
        write_golden({REFERENCE: answering_outputs(self.answerer, pixels, texts)} | outputs, pixels, texts, path)


class AnsweringChecks(ParityChecks):
    """Parity checks for question answering.

    Args:
        expected: the trained model and its inputs.
        exported: the bundle, in this precision.
        session: session of the bundle, for its preprocessing.
        precision: sets the limits.
        report: progress callback.
    """

    def __init__(
        self,
        expected: AnsweringExportable,
        exported: Answerer,
        session: Session | None = None,
        precision: str = REFERENCE,
        report: Callable[[str], None] = lambda stage: None,
    ) -> None:
        super().__init__(precision, report)
        self._expected = expected
        self._model = expected.answerer
        self._exported = exported
        self._preprocessing = expected.preprocessing if session is None else session.preprocessing

    def _parts(self) -> Iterable[Part]:
        return (
            ("vision", self._vision),
            ("question", self._questions),
            ("answer", self._answers),
            ("inputs", self._inputs),
            ("answers", self._task),
        )

    def _vision(self) -> None:
        pixels = self._expected.pixels
        for size in batch_sizes(len(pixels)):
            feed: Feed = (pixels[:size],)
            quantity = f"tokens of a batch of {size}"
            self._tensors("vision", [quantity], feed, lambda side, size=size: [side.graphs.read_images(pixels[:size])])  # type: ignore[misc]

    def _questions(self) -> None:
        texts, pixels = self._expected.texts, self._expected.pixels
        images = self._model.graphs.read_images(pixels)
        for size in batch_sizes(len(texts)):
            asked = self._model.tokenizer.encode(texts[:size])
            feed = (images, asked.input_ids, asked.attention_mask, np.arange(size) % len(images))
            real = asked.attention_mask.astype(bool)
            quantity = f"tokens of {size} questions, padded to {real.shape[1]}"
            self._tensors(
                "question",
                [quantity],
                feed,
                lambda side, feed=feed, real=real: [side.graphs.read_questions(*feed)[real]],  # type: ignore[misc]
            )
        quantity = "tokens of a question next to a longer one"
        with self._attempt("independence", "question", quantity):
            one, two = (self._model.tokenizer.encode(texts[:size]) for size in (1, 2))
            beside, alone = (self._fused(tokens, images)[0, : one.input_ids.shape[1]] for tokens in (two, one))
            self._independent("question", quantity, beside, alone, self.limits.measure, self.limits.tokens)

    def _answers(self) -> None:
        answers = self._model.tokenizer.encode_answers(self._model.answers).input_ids
        asked = self._model.tokenizer.encode(self._expected.texts)
        images = self._model.graphs.read_images(self._expected.pixels)
        tokens = self._model.graphs.read_questions(
            images, asked.input_ids, asked.attention_mask, np.arange(len(self._expected.texts)) % len(images)
        )
        cls = np.full((len(tokens), 1), self._model.tokenizer.start_id, np.int64)
        index = np.arange(max(BATCHES)) % len(tokens)
        cases: list[tuple[str, IntArray, IntArray]] = [("a start", cls, np.arange(len(tokens)))]
        for size in BATCHES:
            chosen = np.arange(size) % len(answers)
            cases.append((f"{size} answers", answers[chosen], index[:size]))
        for name, ids, of in cases:
            feed = (tokens, asked.attention_mask, ids, of)
            quantities = [f"likelihood of {name} to {len(tokens)} questions", f"next token after {name}"]
            self._tensors("answer", quantities, feed, lambda side, feed=feed: side.graphs.score_answers(*feed))  # type: ignore[misc]
        quantity = "likelihood of an answer with padding after it"
        with self._attempt("independence", "answer", quantity):
            short = answers[:1, :2]
            longer = np.concatenate([short, np.full((1, 5), self._model.tokenizer.pad_id)], axis=1)
            padded, alone = (
                self._exported.graphs.score_answers(tokens[:1], asked.attention_mask[:1], ids, index[:1])[0][:, :1]
                for ids in (longer, short)
            )
            self._independent("answer", quantity, padded, alone, self.limits.measure, self.limits.scores)

    def _fused(self, tokens: Tokens, images: FloatArray) -> FloatArray:
        index = np.arange(len(tokens.input_ids)) % len(images)
        return self._exported.graphs.read_questions(images, tokens.input_ids, tokens.attention_mask, index)

    def _inputs(self) -> None:
        texts = self._expected.texts
        for graph, encode in (("question", _encode_questions(texts)), ("answer", _encode_answers)):
            found, wanted = encode(self._exported), encode(self._model)
            self._same(graph, f"tokenization of {len(wanted.input_ids)} texts", (found.input_ids, wanted.input_ids),
                       (found.attention_mask, wanted.attention_mask))  # fmt: skip
        pixels = [
            prepare(self._expected.questions.images(position)[0], self._preprocessing)
            for position in self._expected.positions
        ]
        self._same("vision", "pixels of raw images", (np.stack(pixels), self._expected.pixels))

    def _task(self) -> None:
        with self._attempt("task", WHOLE, "answers"):
            results = self._results = _evaluate(self._exported, self._expected.questions)
            self._checks += scored_checks(results, self._expected.results, self.limits)

    def _tensors(
        self, graph: str, quantities: Sequence[str], feed: Feed, compute: Callable[[Answerer], Sequence[FloatArray]]
    ) -> None:
        """Compare the outputs of both sides for the same inputs."""
        measure, limit = self.limits.measure, self.limits.tokens
        if graph == "answer":  # likelihoods
            measure, limit = difference, self.limits.scores
        wanted = compute(self._model)
        with self._attempt("torch", graph, quantities[0], feed):
            for quantity, one, other in zip(quantities, compute(self._exported), wanted, strict=True):
                self._compare(graph, quantity, one, other, measure, limit, feed)


def _evaluate(answerer: Answerer, source: Source[Question]) -> tuple[ScoredResult, ...]:
    section = VQAEvaluation(kind="vqa", protocols=("rank",), top_k=_CANDIDATES, bootstrap=0)
    # The run's evaluation reported unreadable images; here both sides only need the same ones.
    return VQAEvaluator(section).evaluate(answerer, source, corrupt_limit=1.0)


def _encode_questions(texts: Sequence[str]) -> Callable[[Answerer], Tokens]:
    return lambda side: side.tokenizer.encode(texts)


def _encode_answers(side: Answerer) -> Tokens:
    return side.tokenizer.encode_answers(side.answers)


def _tensors(arrays: Feed) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in arrays)
