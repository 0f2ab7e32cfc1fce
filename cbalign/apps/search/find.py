"""What a text or an example finds in an index: nearest vectors first, then the best of them by the matcher."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cbalign.apps.search.index import Index
from cbalign.data.image import prepare
from cbalign.encoders import FloatArray, ImageFeatures, TextFeatures
from cbalign.errors import DataError, DivergenceError
from cbalign.runtime.images import decode_untrusted
from cbalign.runtime.ranking import nearest
from cbalign.runtime.session import Session

_BATCH = 16  # images whose tokens are held at a time


@dataclass(frozen=True)
class Hit:
    """A picture that was found: its file, other files with the same content, its cosine, its match score if any."""

    path: str
    copies: tuple[str, ...]
    score: float
    match: float | None = None


def find(index: Index, vector: FloatArray, count: int) -> list[Hit]:
    """The pictures nearest to a unit vector (d,), best first."""
    contents = index.contents
    if not contents.paths:
        return []
    found = nearest(vector, contents.vectors, count, contents.shown)
    return [
        Hit(contents.paths[row][0], contents.paths[row][1:], score)
        for row, score in zip(found.position.tolist(), found.score.tolist())
    ]


def rerank(session: Session, folder: Path, hits: list[Hit], text: TextFeatures, count: int) -> list[Hit]:
    """Order the first `count` hits by how well the matcher thinks that they fit one text; the others stay behind them.

    Hits whose file is gone or damaged since it was indexed are dropped.

    Raises:
        DivergenceError: a score is not a number.
    """
    scored: list[Hit] = []
    for start in range(0, min(count, len(hits)), _BATCH):
        readable, pictures = [], []
        for hit in hits[start : min(start + _BATCH, count)]:
            try:
                pictures.append(prepare(decode_untrusted(folder / hit.path), session.image_size))
            except DataError:
                continue
            readable.append(hit)
        if readable:
            scores = match_one_text(session, session.encode_images(np.stack(pictures)), text)
            scored.extend(replace(hit, match=float(score)) for hit, score in zip(readable, scores))
    if not all(np.isfinite(hit.match or 0.0) for hit in scored):
        raise DivergenceError("match scores are not numbers", remedy="Use another precision of the bundle.")
    return sorted(scored, key=lambda hit: -(hit.match or 0.0)) + hits[count:]


def match_one_text(session: Session, images: ImageFeatures, text: TextFeatures) -> FloatArray:
    """Match scores (I,) of images with one text."""
    count = len(images.tokens)
    repeated = TextFeatures(
        np.repeat(text.tokens, count, axis=0),
        np.repeat(text.attention_mask, count, axis=0),
        np.repeat(text.embedding, count, axis=0),
    )
    return session.match(images, repeated, np.arange(count))
