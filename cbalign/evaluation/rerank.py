"""Match scores for the candidates that the dual encoder proposes (ALBEF's evaluation)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cbalign.data.arrays import FloatArray, IntArray
from cbalign.data.items import Pair
from cbalign.data.progress import ProgressCallback
from cbalign.data.source import Source
from cbalign.encoders import Encoder, TextFeatures
from cbalign.errors import DivergenceError
from cbalign.evaluation.features import EncodedGallery, load_images
from cbalign.evaluation.process_group import SINGLE_PROCESS, ProcessGroup, each_once


class PairScores:
    """Match scores of chosen (image, text) pairs, each computed once even if both directions ask for it."""

    def __init__(self, keys: IntArray, scores: FloatArray, texts: int) -> None:
        self._keys = keys  # (P,) ascending: image * texts + text
        self._scores = scores  # (P,)
        self._texts = texts

    def of(self, image: IntArray, text: IntArray) -> FloatArray:
        """Scores of pairs that were chosen; indices of any shape that go together."""
        return self._scores[np.searchsorted(self._keys, image * self._texts + text)]


def score_pairs(
    encoder: Encoder,
    source: Source[Pair],
    encoded: EncodedGallery,
    texts_of_images: IntArray,
    images_of_texts: IntArray,
    *,
    batch_size: int,
    report: ProgressCallback,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> PairScores:
    """Score the union of both directions' candidates.

    Pairs are taken image by image, so that a forward pass reads each of its images once for all their texts. Images
    are encoded again for it, `batch_size` at a time: tokens of a whole gallery can be larger than memory, and encoding
    an image costs little compared with matching it with k texts.

    Args:
        encoder: the model.
        source: of the images.
        encoded: the gallery, with text tokens.
        texts_of_images: (I, k) candidates of each image.
        images_of_texts: (T, k) candidates of each text.
        batch_size: pairs, and images, per forward pass.
        report: progress callback.
        process_group: the processes that share the work.

    Raises:
        DivergenceError: a score is not a number.
    """
    text_tokens = encoded.text_tokens
    assert text_tokens is not None
    images, texts = len(encoded.images), len(encoded.texts)
    by_image = np.arange(images)[:, None] * texts + texts_of_images
    by_text = images_of_texts * texts + np.arange(texts)[:, None]
    keys = np.unique(np.concatenate([by_image.ravel(), by_text.ravel()]))
    image, text = np.divmod(keys, texts)

    def match(first: int) -> FloatArray:
        start, stop = np.searchsorted(image, [first, first + batch_size])
        scores = np.empty(stop - start, np.float32)
        if start == stop:
            return scores
        pixels = load_images(encoder, source, encoded.gallery.image_entries[first : first + batch_size])
        features = encoder.encode_images(pixels)
        for batch in _batches(image[start:stop], batch_size):
            chosen, index = np.unique(image[start:stop][batch] - first, return_inverse=True)
            selected = type(features)(features.tokens[chosen], features.embedding[chosen])
            scores[batch] = encoder.match(selected, _take(text_tokens, text[start:stop][batch]), index)
        report("pairs", int(stop), len(keys))
        return scores

    scores = np.concatenate(each_once(match, range(0, images, batch_size), process_group))
    if not np.isfinite(scores).all():
        raise DivergenceError(
            f"{int((~np.isfinite(scores)).sum()):,} of {len(scores):,} match scores are not numbers",
            remedy="The weights are damaged or the precision overflows: use an earlier checkpoint, or fp32.",
        )
    return PairScores(keys, scores, texts)


def _batches(image: IntArray, size: int) -> Iterator[slice]:
    """Slices of at most `size` pairs, cut between images wherever an image's pairs fit."""
    ends = np.append(np.flatnonzero(np.diff(image)) + 1, len(image))
    start = 0
    while start < len(image):
        whole = ends[np.searchsorted(ends, start + size, side="right") - 1]
        stop = int(whole) if start < whole <= start + size else min(start + size, len(image))
        yield slice(start, stop)
        start = stop


def _take(texts: TextFeatures, index: IntArray) -> TextFeatures:
    """Some texts, without the padding that none of them needs."""
    mask = texts.attention_mask[index]
    length = max(1, int(mask.sum(axis=1).max()))
    return TextFeatures(texts.tokens[index, :length], mask[:, :length], texts.embedding[index])
