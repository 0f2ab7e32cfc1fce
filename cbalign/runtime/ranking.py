"""Find the vectors nearest to a query, among more vectors than fit into memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import FloatArray, IntArray

_BLOCK_BYTES = 1 << 24  # vectors read at a time


@dataclass(frozen=True)
class Nearest:
    """Positions (k,) of the vectors nearest to a query, best first, and their cosines `score` (k,)."""

    position: IntArray
    score: FloatArray


def nearest(query: FloatArray, vectors: FloatArray, count: int, among: NDArray[np.bool_] | None = None) -> Nearest:
    """Find the vectors with the largest inner product; ties are broken by position.

    Args:
        query: (d,), unit length.
        vectors: (N, d), unit length; may be a memory map, which is read block by block.
        count: maximum number of vectors to return.
        among: (N,) mask of the vectors to search; defaults to all.
    """
    scores = np.empty(len(vectors), np.float32)
    block = max(1, _BLOCK_BYTES // max(1, 4 * vectors.shape[1]))
    for start in range(0, len(vectors), block):
        np.matmul(vectors[start : start + block], query, out=scores[start : start + block])
    taking_part = np.arange(len(vectors)) if among is None else np.flatnonzero(among)
    scores = scores[taking_part]
    count = min(count, len(scores))
    if count < len(scores):  # everything that ties with the last one is kept for the sort below
        last = np.partition(scores, len(scores) - count)[len(scores) - count] if count else np.inf
        kept = np.flatnonzero(scores >= last)
    else:
        kept = np.arange(len(scores))
    chosen = kept[np.argsort(-scores[kept], kind="stable")[:count]]
    return Nearest(taking_part[chosen], scores[chosen])
