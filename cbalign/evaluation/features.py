"""Encoding a whole gallery, batch by batch, with steady memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.corruption import UnreadableItems
from cbalign.data.image import prepare
from cbalign.data.items import Pair
from cbalign.data.progress import ProgressCallback
from cbalign.data.source import Gallery, Source, images_of
from cbalign.encoders import Encoder, TextFeatures
from cbalign.errors import DataError, DivergenceError
from cbalign.evaluation.process_group import SINGLE_PROCESS, ProcessGroup, each_once


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
    source: Source[Pair],
    gallery: Gallery,
    *,
    batch_size: int,
    corrupt_limit: float,
    keep_text_tokens: bool,
    report: ProgressCallback,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> EncodedGallery:
    """Encode every readable image of a gallery and the texts that belong to them.

    Batches are the same for any number of processes, and so is what they are encoded to.

    Args:
        encoder: the model.
        source: what the gallery was taken from.
        gallery: images and captions.
        batch_size: images or texts per forward pass.
        corrupt_limit: share of the pairs whose images may be unreadable; they are skipped.
        keep_text_tokens: whether the texts' tokens are kept for the matcher.
        report: progress callback.
        process_group: the processes that share the work.

    Raises:
        DataError: too many images are unreadable.
        DivergenceError: an embedding is not a number.
    """
    total = len(gallery.image_entries)
    unreadable = UnreadableItems(source, corrupt_limit)

    def encode(start: int) -> FloatArray | None:
        stop = min(start + batch_size, total)
        pixels = _readable(encoder, source, gallery, range(start, stop), unreadable)
        report("images", stop, total)
        return encoder.embed_images(np.stack(pixels)) if pixels else None

    vectors = each_once(encode, range(0, total, batch_size), process_group)
    skipped = UnreadableItems(source, corrupt_limit)
    for each in process_group.collect(unreadable.found):
        skipped.merge(each)
    if process_group.rank == 0:
        skipped.log()
    readable = _without(gallery, skipped.found)
    images = _finite("image", np.concatenate([each for each in vectors if each is not None]))
    texts, tokens = _encode_texts(encoder, readable.captions, batch_size, keep_text_tokens, report, process_group)
    return EncodedGallery(readable, images, texts, tokens, len(skipped.found))


def load_images(encoder: Encoder, source: Source[Pair], entries: IntArray) -> PixelArray:
    """Prepared pixels (B, H, W, 3) of entries that are known to be readable."""
    return np.stack([prepare(images_of(source, int(entry))[0], encoder.image_size) for entry in entries])


def _readable(
    encoder: Encoder, source: Source[Pair], gallery: Gallery, positions: range, unreadable: UnreadableItems
) -> list[PixelArray]:
    """Prepare the readable images at these positions of a gallery; count the others."""
    pixels: list[PixelArray] = []
    for position in positions:
        try:
            pixels.append(load_images(encoder, source, gallery.image_entries[position : position + 1])[0])
        except DataError as error:
            unreadable.add(position, error.message, items=int(gallery.pairs_of_image[position]))
    return pixels


def _without(gallery: Gallery, unreadable: Collection[int]) -> Gallery:
    """Remove the images at these positions from a gallery, and their captions."""
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
        gallery.pairs_of_image[kept],
    )


def _encode_texts(
    encoder: Encoder,
    captions: tuple[str, ...],
    batch_size: int,
    keep_tokens: bool,
    report: ProgressCallback,
    process_group: ProcessGroup,
) -> tuple[FloatArray, TextFeatures | None]:
    def batch(start: int) -> tuple[str, ...]:
        texts = captions[start : start + batch_size]
        report("texts", start + len(texts), len(captions))
        return texts

    starts = range(0, len(captions), batch_size)
    if keep_tokens:
        # Every process meets nearly every text when it matches, and tokens are quicker made than sent.
        kept = [encoder.encode_texts(batch(start)) for start in starts]
        embedding = _finite("text", np.concatenate([features.embedding for features in kept]))
        return embedding, _stack(kept, embedding)
    vectors = each_once(lambda start: encoder.embed_texts(batch(start)), starts, process_group)
    return _finite("text", np.concatenate(vectors)), None


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
