"""Does the bundle compute what the trained model computes? Asked rung by rung, with real pictures and words.

Both sides are encoders: the PyTorch model with the run's tokenizer, and a session over the files as they will be
shipped. From the lowest rung up:

- torch: every output of every graph, for batches of 1, 2, 7 and 32 and texts of several lengths.
- independence: an item alone gives what it gives beside others, and beside longer ones.
- inputs: the shipped tokenizer and preprocessing make the same ids and pixels of raw texts and pictures.
- codes: the same vectors get the same codes, and so do the same pictures and words.
- task: retrieval finds the same.

The checker of ONNX, the rung below them, looks at files instead (`cbalign.export.bundle`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cbalign.data.source import FirstEntries, PairSource
from cbalign.data.text import Tokenizer
from cbalign.encoders import CodeAssignment, Encoder, FloatArray, ImageFeatures, IntArray, TextFeatures
from cbalign.errors import BundleError, DivergenceError
from cbalign.evaluation.features import load_images
from cbalign.evaluation.result import RetrievalResult, largest_difference, surest_loss
from cbalign.evaluation.retrieval import evaluate_retrieval
from cbalign.export.parity import (
    CODEBOOK,
    LIMITS,
    SAME_VECTORS,
    WHOLE,
    Check,
    Feed,
    Measure,
    PrecisionReport,
    Rung,
    difference,
)
from cbalign.export.sample import BATCHES, Sample
from cbalign.spec.evaluation import RetrievalEvaluation

_TASK_IMAGES = 512
_TASK_CANDIDATES = 16


class TextEncoder(Encoder, Protocol):
    """An encoder that shows its tokenizer, as the model and the session do."""

    @property
    def tokenizer(self) -> Tokenizer:
        """From raw texts to token ids."""


@dataclass(frozen=True)
class Expected:
    """What the trained model makes of real inputs: computed once, compared with every precision."""

    encoder: TextEncoder
    source: PairSource
    sample: Sample
    images: ImageFeatures
    texts: TextFeatures
    codes: CodeAssignment | None  # of the images' vectors, then the texts'
    index: IntArray  # which image each text meets
    scores: FloatArray | None
    results: tuple[RetrievalResult, ...]

    @classmethod
    def of(cls, encoder: TextEncoder, source: PairSource) -> Expected:
        """Run the trained model.

        Raises:
            DataError: the source has no readable image.
        """
        sample = Sample.of(source, encoder)
        images, texts = encoder.encode_images(sample.pixels), encoder.encode_texts(sample.texts)
        index = np.random.default_rng(0).integers(len(images.tokens), size=len(texts.tokens))
        return cls(
            encoder=encoder,
            source=source,
            sample=sample,
            images=images,
            texts=texts,
            codes=encoder.assign(_vectors(images, texts)) if encoder.has_codebook else None,
            index=index,
            scores=encoder.match(images, texts, index) if encoder.has_matcher else None,
            results=_evaluate(encoder, encoder, source),
        )


class Ladder:
    """One precision of a bundle beside the trained model.

    Args:
        expected: what the trained model computes.
        exported: the bundle, in this precision.
        precision: sets the limits.
        report: told which part is being compared.
    """

    def __init__(
        self,
        expected: Expected,
        exported: TextEncoder,
        precision: str = "fp32",
        report: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self.expected = expected
        self.exported = exported
        self.precision = precision
        self.limits = LIMITS[precision]
        self.failing: dict[str, Feed] = {}
        """Inputs of the first comparison with PyTorch that failed, by graph."""
        self._report = report
        self._checks: list[Check] = []

    def climb(self) -> PrecisionReport:
        """Make every comparison; one that onnxruntime cannot even compute has failed."""
        expected, exported = self.expected, self.exported
        self._report("image")
        self._images()
        self._report("text")
        self._texts()
        if expected.codes is not None and exported.has_codebook:
            self._report("codebook")
            self._codes(expected.codes)
        if expected.scores is not None and exported.has_matcher:
            self._report("match")
            self._matches(expected.scores)
        self._report("inputs")
        self._inputs()
        if expected.codes is not None and exported.has_codebook:
            self._codes_from_raw_inputs(expected.codes)
        self._report("retrieval")
        results = self._task()
        order = ("torch", "independence", "inputs", "codes", "task")
        return PrecisionReport(
            self.precision, tuple(sorted(self._checks, key=lambda check: order.index(check.rung))), results
        )

    def _images(self) -> None:
        pixels, whole, limits = self.expected.sample.pixels, self.expected.images, self.limits
        for size in _sizes(len(pixels)):
            feed = (pixels[:size],)
            with _Attempt(self, "torch", "image", f"batch of {size}", feed):
                found = self.exported.encode_images(pixels[:size])
                self._compare("image", f"tokens of a batch of {size}", found.tokens, whole.tokens[:size],
                              limits.measure, limits.tokens, feed)  # fmt: skip
                self._compare("image", f"embedding of a batch of {size}", found.embedding, whole.embedding[:size],
                              limits.measure, limits.embedding, feed)  # fmt: skip
        with _Attempt(self, "independence", "image", "one among others"):
            among = self.exported.encode_images(pixels).embedding[-1:]
            alone = self.exported.encode_images(pixels[-1:]).embedding
            self._independent("image", f"embedding beside {len(pixels) - 1} others", among, alone)

    def _texts(self) -> None:
        texts, whole, limits = self.expected.sample.texts, self.expected.texts, self.limits
        for size in _sizes(len(texts)):
            # The first text is the shortest, the second the longest: alone, then beside the longest, then among all.
            tokens = self.exported.tokenizer.encode(texts[:size])
            feed = (tokens.input_ids, tokens.attention_mask)
            length = tokens.input_ids.shape[1]
            with _Attempt(self, "torch", "text", f"batch of {size}, padded to {length}", feed):
                found = self.exported.encode_texts(texts[:size])
                mask = whole.attention_mask[:size, :length]
                if found.attention_mask.shape == mask.shape and (found.attention_mask == mask).all():
                    real = mask.astype(bool)
                    self._compare("text", f"tokens of a batch of {size}, padded to {length}", found.tokens[real],
                                  whole.tokens[:size, :length][real], limits.measure, limits.tokens, feed)  # fmt: skip
                self._compare("text", f"embedding of a batch of {size}, padded to {length}", found.embedding,
                              whole.embedding[:size], limits.measure, limits.embedding, feed)  # fmt: skip
        with _Attempt(self, "independence", "text", "one beside a longer one"):
            beside, alone = self.exported.encode_texts(texts[:2]), self.exported.encode_texts(texts[:1])
            padded, length = beside.tokens.shape[1], alone.tokens.shape[1]
            self._independent("text", f"embedding of {length} tokens padded to {padded}",
                              beside.embedding[:1], alone.embedding)  # fmt: skip
            among = self.exported.encode_texts(texts).embedding[:1]
            self._independent("text", f"embedding beside {len(texts) - 1} others", among, alone.embedding)

    def _codes(self, expected: CodeAssignment) -> None:
        vectors = _vectors(self.expected.images, self.expected.texts)
        for size in _sizes(len(vectors)):
            feed = (vectors[:size],)
            with _Attempt(self, "torch", "codebook", f"batch of {size}", feed):
                found = self.exported.assign(vectors[:size])
                self._compare("codebook", f"probabilities of a batch of {size}", found.probabilities,
                              expected.probabilities[:size], difference, CODEBOOK, feed)  # fmt: skip
        with _Attempt(self, "codes", "codebook", "all vectors"):
            found = self.exported.assign(vectors)
            same = found.code == expected.code
            self._add("codes", "codebook", "share of the same vectors with another code",
                      1 - float(same.mean()), SAME_VECTORS)  # fmt: skip
            self._add("codes", "codebook", "prototype where the code is the same",
                      difference(found.prototype[same], expected.prototype[same]), CODEBOOK)  # fmt: skip
            alone = self.exported.assign(vectors[-1:]).probabilities
            error = difference(found.probabilities[-1:], alone)
            self._add("independence", "codebook", "probabilities beside others", error, CODEBOOK)

    def _matches(self, expected: FloatArray) -> None:
        images, texts, index, limit = self.expected.images, self.expected.texts, self.expected.index, self.limits.scores
        for size in _sizes(len(index)):
            some = _first(texts, size)
            feed = (images.tokens, some.tokens, some.attention_mask, index[:size])
            with _Attempt(self, "torch", "match", f"{size} texts", feed):
                found = self.exported.match(images, some, index[:size])
                self._compare("match", f"score of {size} texts with {len(images.tokens)} images", found,
                              expected[:size], difference, limit, feed)  # fmt: skip
        with _Attempt(self, "independence", "match", "one text with one image"):
            one = ImageFeatures(images.tokens[index[:1]], images.embedding[index[:1]])
            alone = self.exported.match(one, _first(texts, 1), np.zeros(1, np.int64))
            among = self.exported.match(images, texts, index)[:1]
            self._add("independence", "match", f"score beside {len(index) - 1} others", difference(among, alone), limit)

    def _inputs(self) -> None:
        sample, model = self.expected.sample, self.expected.encoder
        for size in _sizes(len(sample.texts)):
            found, wanted = (side.tokenizer.encode(sample.texts[:size]) for side in (self.exported, model))
            same = np.array_equal(found.input_ids, wanted.input_ids) and np.array_equal(
                found.attention_mask, wanted.attention_mask
            )
            self._add("inputs", "text", f"tokenization of a batch of {size}", 0.0 if same else np.inf, 0.5)
        pixels = load_images(self.exported, self.expected.source, sample.entries)
        same = np.array_equal(pixels, sample.pixels)
        self._add("inputs", "image", "pixels of raw pictures", 0.0 if same else np.inf, 0.5)

    def _codes_from_raw_inputs(self, expected: CodeAssignment) -> None:
        sample = self.expected.sample
        with _Attempt(self, "codes", WHOLE, "codes of pictures and words"):
            images, texts = self.exported.encode_images(sample.pixels), self.exported.encode_texts(sample.texts)
            code = self.exported.assign(_vectors(images, texts)).code
            # One vector on the edge between two codes is no error, and among few it is a large share.
            limit = max(self.limits.codes, 1 / len(code) + 1e-9)
            error = 1 - float((code == expected.code).mean())
            self._add("codes", WHOLE, "share of pictures and words with another code", error, limit)

    def _task(self) -> tuple[RetrievalResult, ...]:
        with _Attempt(self, "task", WHOLE, "retrieval"):
            results = _evaluate(self.exported, self.expected.encoder, self.expected.source)
            protocols = {result.protocol for result in results}
            wanted = tuple(result for result in self.expected.results if result.protocol in protocols)
            if self.precision != "fp32":
                name, loss = surest_loss(wanted, results)
                self._add("task", WHOLE, f"{name}: points that are surely lost", loss, self.limits.recall)
                return results
            name, gap = largest_difference(wanted, results)
            queries = min(results[0].images, results[0].texts)
            # One query that crosses a rank is no error of the export, and in a small gallery it is more than allowed.
            limit = max(self.limits.recall, 100 / queries + 1e-9)
            self._add("task", WHOLE, f"{name} in points", gap, limit)
            return results
        return ()

    def _independent(self, graph: str, quantity: str, found: FloatArray, alone: FloatArray) -> None:
        self._add("independence", graph, quantity, self.limits.measure(found, alone), self.limits.embedding)

    def _compare(
        self,
        graph: str,
        quantity: str,
        found: FloatArray,
        wanted: FloatArray,
        measure: Measure,
        limit: float,
        feed: Feed,
    ) -> None:
        check = self._add("torch", graph, quantity, measure(found, wanted), limit)
        if not check.passed:
            self.failing.setdefault(graph, feed)

    def _add(self, rung: Rung, graph: str, quantity: str, error: float, limit: float, note: str = "") -> Check:
        self._checks.append(Check(rung, graph, quantity, error, limit, note))
        return self._checks[-1]


class _Attempt:
    """A comparison that has failed, with a note of why, where onnxruntime refuses to compute."""

    def __init__(self, ladder: Ladder, rung: Rung, graph: str, quantity: str, feed: Feed = ()) -> None:
        self._ladder, self._feed = ladder, feed
        self._place: tuple[Rung, str, str] = (rung, graph, quantity)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, BundleError | DivergenceError):
            return False
        self._ladder._add(*self._place, np.inf, 0.0, f"cannot be computed: {error.message}")
        if self._feed:
            self._ladder.failing.setdefault(self._place[1], self._feed)
        return True


def _evaluate(encoder: Encoder, reference: Encoder, source: PairSource) -> tuple[RetrievalResult, ...]:
    section = RetrievalEvaluation(
        protocols=(
            "dual",
            *(("rerank",) if encoder.has_matcher and reference.has_matcher else ()),
            *(("code",) if encoder.has_codebook and reference.has_codebook else ()),
        ),
        top_k=_TASK_CANDIDATES,
        bootstrap=0,
    )
    # Unreadable images were judged when the run was evaluated; here they only have to be the same on both sides.
    return evaluate_retrieval(encoder, FirstEntries(source, _TASK_IMAGES), section, corrupt_limit=1.0)


def _vectors(images: ImageFeatures, texts: TextFeatures) -> FloatArray:
    return np.concatenate([images.embedding, texts.embedding])


def _sizes(available: int) -> Sequence[int]:
    return sorted({min(size, available) for size in BATCHES})


def _first(texts: TextFeatures, size: int) -> TextFeatures:
    """Some texts, without the padding that none of them needs."""
    length = int(texts.attention_mask[:size].sum(axis=1).max())
    return TextFeatures(texts.tokens[:size, :length], texts.attention_mask[:size, :length], texts.embedding[:size])
