"""Where the vectors of images and texts lie: modality gap, alignment and uniformity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import FloatArray, IntArray

MOST_VECTORS = 5000
"""Vectors of a modality that uniformity reads; of more, as many at even distances."""

_CHUNK_VALUES = 1 << 21  # squared distances held at a time: 16 MiB in float64
_T = 2.0  # Wang & Isola's t

_Wide = NDArray[np.float64]


@dataclass(frozen=True)
class Geometry:
    """Statistics of I image vectors x and T text vectors y, all of unit length; None where they are not defined.

    Distances are squared Euclidean ones, from 0 to 4; ‖x − y‖² = 2 − 2 cos(x, y).

    Attributes:
        modality_gap: ‖mean of x − mean of y‖, from 0 to 2 (Liang et al., NeurIPS 2022, arXiv 2203.02053).
        alignment: mean of ‖x − y‖² over all texts and their images (Wang & Isola, ICML 2020, arXiv 2005.10242, with
            α = 2).
        alignment_texts: the same over all pairs of different texts of one image; None if no image has two.
        uniformity_images: log of the mean of exp(−2 ‖x − x'‖²) over pairs of different images (Wang & Isola, t = 2).
        uniformity_texts: the same over pairs of different texts.
        uniformity_cross: the same over images and texts that do not belong together.
    """

    modality_gap: float
    alignment: float
    alignment_texts: float | None
    uniformity_images: float | None
    uniformity_texts: float | None
    uniformity_cross: float | None

    @classmethod
    def of(cls, images: FloatArray, texts: FloatArray, caption_image: IntArray) -> Geometry:
        """Compute the statistics in float64.

        Args:
            images: (I, d) unit vectors.
            texts: (T, d) unit vectors.
            caption_image: (T,) the image that each text belongs to.
        """
        x, y = images.astype(np.float64), texts.astype(np.float64)
        some_x, some_y = evenly(len(x)), evenly(len(y))
        owner = caption_image[some_y]
        return cls(
            modality_gap=float(np.linalg.norm(x.mean(axis=0) - y.mean(axis=0))),
            alignment=float(((x[caption_image] - y) ** 2).sum(axis=1).mean()),
            alignment_texts=_within(y, caption_image, len(x)),
            uniformity_images=_uniformity(x[some_x], x[some_x], lambda rows: some_x[rows, None] == some_x),
            uniformity_texts=_uniformity(y[some_y], y[some_y], lambda rows: some_y[rows, None] == some_y),
            uniformity_cross=_uniformity(x[some_x], y[some_y], lambda rows: some_x[rows, None] == owner),
        )


def evenly(count: int) -> IntArray:
    """Return positions of `count` items: all, or `MOST_VECTORS` at even distances."""
    return np.arange(min(count, MOST_VECTORS)) * count // min(count, MOST_VECTORS)


def _within(texts: _Wide, owner: IntArray, images: int) -> float | None:
    """Mean squared distance of two texts of one image: Σ_{i<j} ‖y_i − y_j‖² = n Σ_i ‖y_i − mean‖²."""
    counts = np.bincount(owner, minlength=images)
    pairs = int((counts * (counts - 1) // 2).sum())
    if not pairs:
        return None
    centres = np.zeros((images, texts.shape[1]))
    np.add.at(centres, owner, texts)
    centres /= np.maximum(counts, 1)[:, None]
    return float((counts[owner] * ((texts - centres[owner]) ** 2).sum(axis=1)).sum() / pairs)


def _uniformity(x: _Wide, y: _Wide, belong: Callable[[slice], NDArray[np.bool_]]) -> float | None:
    """log of the mean of exp(−t ‖x_i − y_j‖²) over the pairs of rows that do not belong together."""
    rows = max(1, _CHUNK_VALUES // len(y))
    total, pairs = 0.0, 0
    for start in range(0, len(x), rows):
        chunk = slice(start, start + rows)
        distance = (x[chunk] ** 2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x[chunk] @ y.T
        counted = ~belong(chunk)
        total += float(np.exp(-_T * np.maximum(distance, 0))[counted].sum())
        pairs += int(counted.sum())
    return float(np.log(total / pairs)) if pairs else None
