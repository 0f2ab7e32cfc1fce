"""Search an index for a text or an example image: nearest vectors, optionally reranked by the matcher."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cbalign.apps.search.index import SearchIndex
from cbalign.data.arrays import FloatArray
from cbalign.data.image import prepare
from cbalign.encoders import ImageFeatures, TextFeatures
from cbalign.errors import DataError, DivergenceError
from cbalign.runtime.images import decode_untrusted
from cbalign.runtime.ranking import nearest
from cbalign.runtime.session import Session

_BATCH = 16  # images whose tokens are held at a time


@dataclass(frozen=True)
class SearchHit:
    """A search result: the image's file, its duplicates, its cosine, and its match score if it was reranked."""

    path: str
    copies: tuple[str, ...]
    score: float
    match: float | None = None


def find_nearest(index: SearchIndex, vector: FloatArray, count: int) -> list[SearchHit]:
    """Return the images nearest to a unit vector (d,), best first."""
    contents = index.contents
    if not contents.paths:
        return []
    found = nearest(vector, contents.vectors, count, contents.shown)
    return [
        SearchHit(contents.paths[row][0], contents.paths[row][1:], score)
        for row, score in zip(found.position.tolist(), found.score.tolist())
    ]


def rerank(session: Session, folder: Path, hits: list[SearchHit], text: TextFeatures, count: int) -> list[SearchHit]:
    """Rerank the first `count` hits by their match score with one text; the other hits follow unchanged.

    Drops hits whose file was removed or damaged after indexing.

    Raises:
        DivergenceError: a score is not a number.
    """
    scored: list[SearchHit] = []
    for start in range(0, min(count, len(hits)), _BATCH):
        readable, pictures = [], []
        for hit in hits[start : min(start + _BATCH, count)]:
            try:
                pictures.append(prepare(decode_untrusted(folder / hit.path), session.preprocessing))
            except DataError:
                continue
            readable.append(hit)
        if readable:
            scores = match_one_text(session, session.encode_images(np.stack(pictures)), text)
            scored.extend(replace(hit, match=float(score)) for hit, score in zip(readable, scores))
    if not all(np.isfinite(hit.match or 0.0) for hit in scored):
        raise DivergenceError("match scores are NaN or infinite", remedy="Use a different precision of the bundle.")
    return sorted(scored, key=lambda hit: -(hit.match or 0.0)) + hits[count:]


def match_one_text(session: Session, images: ImageFeatures, text: TextFeatures) -> FloatArray:
    """Score images with one text: (I,)."""
    count = len(images.tokens)
    repeated = TextFeatures(
        np.repeat(text.tokens, count, axis=0),
        np.repeat(text.attention_mask, count, axis=0),
        np.repeat(text.embedding, count, axis=0),
    )
    return session.match(images, repeated, np.arange(count))
