"""Real inputs for the parity checks: prepared images, and raw texts of all lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cbalign.data.arrays import IntArray, PixelArray
from cbalign.data.image import Preprocessing, prepare
from cbalign.data.items import Item, Pair
from cbalign.data.source import Source, gallery, images_of
from cbalign.encoders import Encoder
from cbalign.errors import DataError
from cbalign.evaluation.features import load_images

BATCHES = (1, 2, 7, 32)


def batch_sizes(available: int) -> list[int]:
    """Return the sizes in `BATCHES`, each limited to the number of available inputs."""
    return sorted({min(size, available) for size in BATCHES})


@dataclass(frozen=True)
class Sample:
    """Real inputs: prepared images (B, H, W, 3), their `entries` in the source, and raw texts.

    The first text is the shortest, the second the longest.
    """

    pixels: PixelArray
    entries: IntArray
    texts: tuple[str, ...]

    @classmethod
    def of(cls, source: Source[Pair], encoder: Encoder) -> Sample:
        """Sample the first readable images of a source, and texts of all its lengths.

        Raises:
            DataError: no image can be read.
        """
        pairs = gallery(source)
        pixels, entries = [], []
        for entry in pairs.image_entries:
            try:
                pixels.append(load_images(encoder, source, np.array([entry]))[0])
            except DataError:
                continue
            entries.append(entry)
            if len(pixels) == max(BATCHES):
                break
        if not pixels:
            raise DataError(f"{source.name}: no image can be read to compare the exported graphs with")
        by_length = sorted(dict.fromkeys(pairs.captions[:2000]), key=len)
        chosen = [by_length[i] for i in np.linspace(0, len(by_length) - 1, max(BATCHES) - 2).astype(int)]
        long = " ".join(pairs.captions[:200])
        return cls(np.stack(pixels), np.array(entries), (by_length[0], long, *chosen))


def readable_items(source: Source[Item], preprocessing: Preprocessing) -> tuple[tuple[int, ...], PixelArray]:
    """Return the first items with readable images, at most the largest batch, and these images (B, n, H, W, 3).

    Raises:
        DataError: no image can be read.
    """
    positions, pixels = [], []
    for position in range(len(source)):
        try:
            pixels.append(np.stack([prepare(image, preprocessing) for image in images_of(source, position)]))
        except DataError:
            continue
        positions.append(position)
        if len(pixels) == max(BATCHES):
            break
    if not pixels:
        raise DataError(f"{source.name}: no image can be read to compare the exported graphs with")
    return tuple(positions), np.stack(pixels)


def texts_of_all_lengths(source: Source[Item], parts: int) -> tuple[str, ...]:
    """Return texts of the items: first the shortest, then `parts` texts joined into one too long for a model."""
    by_length = sorted({source.item(i).text for i in range(len(source))}, key=lambda text: (len(text), text))
    chosen = [by_length[i] for i in np.linspace(0, len(by_length) - 1, max(BATCHES) - 2).astype(int)]
    return (by_length[0], " ".join(by_length[:parts]), *chosen)
