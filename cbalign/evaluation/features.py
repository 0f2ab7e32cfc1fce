"""Encoding a whole gallery, batch by batch, with steady memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cbalign.data.image import prepare
from cbalign.data.progress import Report
from cbalign.data.source import Gallery, PairSource
from cbalign.encoders import Encoder, FloatArray, IntArray, PixelArray, TextFeatures
from cbalign.errors import DataError, DivergenceError

_EXAMPLES = 3


@dataclass(frozen=True)
class EncodedGallery:
    """The readable part of a gallery and its unit vectors.

    `images` (I, d) and `texts` (T, d); `text_tokens` is None unless asked for. `skipped` counts unreadable images.
    """

    gallery: Gallery
    images: FloatArray
    texts: FloatArray
    text_tokens: TextFeatures | None
    skipped: int


def encode_gallery(
    encoder: Encoder,
    source: PairSource,
    gallery: Gallery,
    *,
    batch_size: int,
    corrupt_limit: float,
    keep_text_tokens: bool,
    report: Report,
) -> EncodedGallery:
    """Encode every readable image of a gallery and the texts that belong to them.

    Args:
        encoder: the model.
        source: what the gallery was taken from.
        gallery: images and captions.
        batch_size: images or texts per forward pass.
        corrupt_limit: share of the images that may be unreadable; they and their captions are left out.
        keep_text_tokens: whether the texts' tokens are kept for the matcher.
        report: told of progress.

    Raises:
        DataError: too many images are unreadable.
        DivergenceError: an embedding is not a number.
    """
    unreadable: dict[int, str] = {}
    vectors: list[FloatArray] = []
    for pixels in _image_batches(encoder, source, gallery.image_entries, batch_size, unreadable):
        _check_limit(source, unreadable, len(gallery.image_entries), corrupt_limit)
        vectors.append(encoder.encode_images(pixels).embedding)
        report("images", sum(map(len, vectors)), len(gallery.image_entries))
    _check_limit(source, unreadable, len(gallery.image_entries), corrupt_limit)
    readable = _without(gallery, unreadable)
    images = _finite("image", np.concatenate(vectors))
    texts, tokens = _encode_texts(encoder, readable.captions, batch_size, keep_text_tokens, report)
    return EncodedGallery(readable, images, texts, tokens, len(unreadable))


def load_images(encoder: Encoder, source: PairSource, entries: IntArray) -> PixelArray:
    """Prepared pixels (B, H, W, 3) of entries that are known to be readable."""
    return np.stack([prepare(source.load(int(entry)), encoder.image_size) for entry in entries])


def _image_batches(
    encoder: Encoder, source: PairSource, entries: IntArray, batch_size: int, unreadable: dict[int, str]
) -> Iterator[PixelArray]:
    """Prepared pixels of all readable entries; the positions of the others are noted in `unreadable`."""
    batch: list[PixelArray] = []
    for position, entry in enumerate(entries):
        try:
            batch.append(prepare(source.load(int(entry)), encoder.image_size))
        except DataError as error:
            unreadable[position] = error.message
        if len(batch) == batch_size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _check_limit(source: PairSource, unreadable: dict[int, str], images: int, corrupt_limit: float) -> None:
    allowed = int(corrupt_limit * images)
    if len(unreadable) <= allowed and len(unreadable) < images:
        return
    examples = "".join(f"\n  {message}" for message in list(unreadable.values())[:_EXAMPLES])
    raise DataError(
        f"{source.name}: {len(unreadable):,} of {images:,} images are missing or corrupt, {allowed:,} are allowed "
        f"(data.corrupt_limit: {corrupt_limit:g}); the first:{examples}",
        remedy="Repair the images, leave them out, or raise data.corrupt_limit.",
    )


def _without(gallery: Gallery, unreadable: dict[int, str]) -> Gallery:
    """The gallery less the images at these positions, and less their captions."""
    if not unreadable:
        return gallery
    kept = np.ones(len(gallery.image_entries), bool)
    kept[list(unreadable)] = False
    position = np.cumsum(kept) - 1
    kept_captions = kept[gallery.caption_image]
    return Gallery(
        gallery.image_entries[kept],
        tuple(text for text, keep in zip(gallery.captions, kept_captions) if keep),
        position[gallery.caption_image[kept_captions]],
    )


def _encode_texts(
    encoder: Encoder, captions: tuple[str, ...], batch_size: int, keep_tokens: bool, report: Report
) -> tuple[FloatArray, TextFeatures | None]:
    vectors: list[FloatArray] = []
    kept: list[TextFeatures] = []
    for start in range(0, len(captions), batch_size):
        features = encoder.encode_texts(captions[start : start + batch_size])
        vectors.append(features.embedding)
        if keep_tokens:
            kept.append(features)
        report("texts", start + len(features.embedding), len(captions))
    embedding = _finite("text", np.concatenate(vectors))
    return embedding, _stack(kept, embedding) if keep_tokens else None


def _stack(parts: list[TextFeatures], embedding: FloatArray) -> TextFeatures:
    """All texts in one array, padded to the longest of them; empties `parts` on the way."""
    length = max(part.tokens.shape[1] for part in parts)
    tokens = np.zeros((len(embedding), length, parts[0].tokens.shape[2]), np.float32)
    mask = np.zeros((len(embedding), length), np.int64)
    end = len(embedding)
    while parts:
        part = parts.pop()
        start = end - len(part.tokens)
        tokens[start:end, : part.tokens.shape[1]] = part.tokens
        mask[start:end, : part.tokens.shape[1]] = part.attention_mask
        end = start
    return TextFeatures(tokens, mask, embedding)


def _finite(kind: str, vectors: FloatArray) -> FloatArray:
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise DivergenceError(
            f"the embeddings of {len(broken):,} of {len(vectors):,} {kind}s are not numbers, first {kind} {broken[0]}",
            remedy="The weights are damaged or the precision overflows: use an earlier checkpoint, or fp32.",
        )
    return vectors
