"""Parity checks of bundles that align images and texts: graphs, codes and retrieval.

Both sides are encoders: the PyTorch model with the run's tokenizer, and a session over the files of the bundle. Both
receive the same pixels, raw texts, vectors and features; codes are also compared from raw images and texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from cbalign.data.arrays import FloatArray, IntArray
from cbalign.data.items import Pair
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer
from cbalign.data.wrapped_source import FirstItems
from cbalign.encoders import CodeAssignment, Encoder, ImageFeatures, TextFeatures
from cbalign.evaluation.differences import largest_difference, surest_loss
from cbalign.evaluation.features import load_images
from cbalign.evaluation.result import RetrievalResult
from cbalign.evaluation.retrieval import RetrievalEvaluator
from cbalign.evaluation.sections.evaluations import RetrievalEvaluation
from cbalign.exporting.parity import CODEBOOK, SAME_VECTORS, WHOLE, difference
from cbalign.exporting.parity_checks import ParityChecks, Part
from cbalign.exporting.sample import Sample, batch_sizes
from cbalign.runtime.precisions import REFERENCE

_TASK_IMAGES = 512
_TASK_CANDIDATES = 16


class TokenizingEncoder(Encoder, Protocol):
    """An encoder with a tokenizer: the model or a session."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Converts raw texts to token ids."""


@dataclass(frozen=True)
class Expected:
    """Outputs of the trained model for real inputs, computed once and compared with every precision."""

    encoder: TokenizingEncoder
    source: Source[Pair]
    sample: Sample
    images: ImageFeatures
    texts: TextFeatures
    codes: CodeAssignment | None  # of the image vectors, followed by the text vectors
    index: IntArray  # image that each text is matched with
    scores: FloatArray | None
    results: tuple[RetrievalResult, ...]

    @classmethod
    def of(cls, encoder: TokenizingEncoder, source: Source[Pair]) -> Expected:
        """Run the trained model on real inputs.

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


class AlignmentChecks(ParityChecks):
    """Parity checks for image-text alignment.

    Args:
        expected: outputs of the trained model.
        exported: the bundle, in this precision.
        precision: sets the limits.
        report: progress callback.
    """

    def __init__(
        self,
        expected: Expected,
        exported: TokenizingEncoder,
        precision: str = REFERENCE,
        report: Callable[[str], None] = lambda stage: None,
    ) -> None:
        super().__init__(precision, report)
        self.expected = expected
        self.exported = exported

    def _parts(self) -> Iterator[Part]:
        codes = self.expected.codes if self.exported.has_codebook else None
        scores = self.expected.scores if self.exported.has_matcher else None
        yield "image", self._images
        yield "text", self._texts
        if codes is not None:
            yield "codebook", partial(self._codes, codes)
        if scores is not None:
            yield "match", partial(self._matches, scores)
        yield "inputs", partial(self._inputs, codes)
        yield "retrieval", self._task

    def _images(self) -> None:
        pixels, whole, limits = self.expected.sample.pixels, self.expected.images, self.limits
        for size in batch_sizes(len(pixels)):
            feed = (pixels[:size],)
            with self._attempt("torch", "image", f"batch of {size}", feed):
                found = self.exported.encode_images(pixels[:size])
                self._compare("image", f"tokens of a batch of {size}", found.tokens, whole.tokens[:size],
                              limits.measure, limits.tokens, feed)  # fmt: skip
                self._compare("image", f"embedding of a batch of {size}", found.embedding, whole.embedding[:size],
                              limits.measure, limits.embedding, feed)  # fmt: skip
        with self._attempt("independence", "image", "one among others"):
            among = self.exported.encode_images(pixels).embedding[-1:]
            alone = self.exported.encode_images(pixels[-1:]).embedding
            self._independent("image", f"embedding in a batch with {len(pixels) - 1} others", among, alone,
                              limits.measure, limits.embedding)  # fmt: skip

    def _texts(self) -> None:
        texts, whole, limits = self.expected.sample.texts, self.expected.texts, self.limits
        for size in batch_sizes(len(texts)):
            # The shortest text comes first, the longest second: the batches are it alone, both, and larger ones.
            tokens = self.exported.tokenizer.encode(texts[:size])
            feed = (tokens.input_ids, tokens.attention_mask)
            length = tokens.input_ids.shape[1]
            with self._attempt("torch", "text", f"batch of {size}, padded to {length}", feed):
                found = self.exported.encode_texts(texts[:size])
                mask = whole.attention_mask[:size, :length]
                if found.attention_mask.shape == mask.shape and (found.attention_mask == mask).all():
                    real = mask.astype(bool)
                    self._compare("text", f"tokens of a batch of {size}, padded to {length}", found.tokens[real],
                                  whole.tokens[:size, :length][real], limits.measure, limits.tokens, feed)  # fmt: skip
                self._compare("text", f"embedding of a batch of {size}, padded to {length}", found.embedding,
                              whole.embedding[:size], limits.measure, limits.embedding, feed)  # fmt: skip
        with self._attempt("independence", "text", "one next to a longer one"):
            beside, alone = self.exported.encode_texts(texts[:2]), self.exported.encode_texts(texts[:1])
            padded, length = beside.tokens.shape[1], alone.tokens.shape[1]
            self._independent("text", f"embedding of {length} tokens padded to {padded}",
                              beside.embedding[:1], alone.embedding, limits.measure, limits.embedding)  # fmt: skip
            among = self.exported.encode_texts(texts).embedding[:1]
            self._independent("text", f"embedding in a batch with {len(texts) - 1} others", among, alone.embedding,
                              limits.measure, limits.embedding)  # fmt: skip

    def _codes(self, expected: CodeAssignment) -> None:
        vectors = _vectors(self.expected.images, self.expected.texts)
        for size in batch_sizes(len(vectors)):
            feed = (vectors[:size],)
            with self._attempt("torch", "codebook", f"batch of {size}", feed):
                found = self.exported.assign(vectors[:size])
                self._compare("codebook", f"probabilities of a batch of {size}", found.probabilities,
                              expected.probabilities[:size], difference, CODEBOOK, feed)  # fmt: skip
        with self._attempt("codes", "codebook", "all vectors"):
            found = self.exported.assign(vectors)
            same = found.code == expected.code
            self._add("codes", "codebook", "share of equal vectors with a different code",
                      1 - float(same.mean()), SAME_VECTORS)  # fmt: skip
            self._add("codes", "codebook", "prototype where the code is the same",
                      difference(found.prototype[same], expected.prototype[same]), CODEBOOK)  # fmt: skip
            alone = self.exported.assign(vectors[-1:]).probabilities
            self._independent("codebook", "probabilities in a batch", found.probabilities[-1:], alone,
                              difference, CODEBOOK)  # fmt: skip

    def _matches(self, expected: FloatArray) -> None:
        images, texts, index, limit = self.expected.images, self.expected.texts, self.expected.index, self.limits.scores
        for size in batch_sizes(len(index)):
            some = _first(texts, size)
            feed = (images.tokens, some.tokens, some.attention_mask, index[:size])
            with self._attempt("torch", "match", f"{size} texts", feed):
                found = self.exported.match(images, some, index[:size])
                self._compare("match", f"score of {size} texts with {len(images.tokens)} images", found,
                              expected[:size], difference, limit, feed)  # fmt: skip
        with self._attempt("independence", "match", "one text with one image"):
            one = ImageFeatures(images.tokens[index[:1]], images.embedding[index[:1]])
            alone = self.exported.match(one, _first(texts, 1), np.zeros(1, np.int64))
            among = self.exported.match(images, texts, index)[:1]
            self._independent(
                "match", f"score in a batch with {len(index) - 1} others", among, alone, difference, limit
            )

    def _inputs(self, codes: CodeAssignment | None) -> None:
        sample, model = self.expected.sample, self.expected.encoder
        for size in batch_sizes(len(sample.texts)):
            found, wanted = (side.tokenizer.encode(sample.texts[:size]) for side in (self.exported, model))
            self._same("text", f"tokenization of a batch of {size}", (found.input_ids, wanted.input_ids),
                       (found.attention_mask, wanted.attention_mask))  # fmt: skip
        pixels = load_images(self.exported, self.expected.source, sample.entries)
        self._same("image", "pixels of raw images", (pixels, sample.pixels))
        if codes is not None:
            self._codes_from_raw_inputs(codes)

    def _codes_from_raw_inputs(self, expected: CodeAssignment) -> None:
        sample = self.expected.sample
        with self._attempt("codes", WHOLE, "codes of images and texts"):
            images, texts = self.exported.encode_images(sample.pixels), self.exported.encode_texts(sample.texts)
            code = self.exported.assign(_vectors(images, texts)).code
            # One vector near the boundary of two codes is not an error, but a large share of a few vectors.
            limit = max(self.limits.codes, 1 / len(code) + 1e-9)
            error = 1 - float((code == expected.code).mean())
            self._add("codes", WHOLE, "share of images and texts with a different code", error, limit)

    def _task(self) -> None:
        with self._attempt("task", WHOLE, "retrieval"):
            results = self._results = _evaluate(self.exported, self.expected.encoder, self.expected.source)
            protocols = {result.protocol for result in results}
            wanted = tuple(result for result in self.expected.results if result.protocol in protocols)
            if self.precision != REFERENCE:
                name, loss = surest_loss(wanted, results)
                self._add("task", WHOLE, f"{name}: significant loss in points", loss, self.limits.recall)
                return
            name, gap = largest_difference(wanted, results)
            queries = min(results[0].images, results[0].texts)
            # One query that changes its rank is not an export error, but in a small gallery it exceeds the limit.
            limit = max(self.limits.recall, 100 / queries + 1e-9)
            self._add("task", WHOLE, f"{name} in points", gap, limit)


def _evaluate(encoder: Encoder, reference: Encoder, source: Source[Pair]) -> tuple[RetrievalResult, ...]:
    section = RetrievalEvaluation(
        protocols=(
            "dual",
            *(("rerank",) if encoder.has_matcher and reference.has_matcher else ()),
            *(("code",) if encoder.has_codebook and reference.has_codebook else ()),
        ),
        top_k=_TASK_CANDIDATES,
        bootstrap=0,
    )
    # The run's evaluation reported unreadable images; here both sides only need the same ones.
    return RetrievalEvaluator(section).evaluate(encoder, FirstItems(source, _TASK_IMAGES), corrupt_limit=1.0)


def _vectors(images: ImageFeatures, texts: TextFeatures) -> FloatArray:
    return np.concatenate([images.embedding, texts.embedding])


def _first(texts: TextFeatures, size: int) -> TextFeatures:
    """Return the first texts without unneeded padding."""
    length = int(texts.attention_mask[:size].sum(axis=1).max())
    return TextFeatures(texts.tokens[:size, :length], texts.attention_mask[:size, :length], texts.embedding[:size])
