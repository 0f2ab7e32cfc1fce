"""Real inputs for timing: the recorded inputs of a bundle, repeated as needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cbalign.data.arrays import PixelArray
from cbalign.runtime.bundle import GOLDEN, BundleFolder
from cbalign.runtime.golden import read_golden


@dataclass(frozen=True)
class Inputs:
    """Prepared images (B, H, W, 3) and as many texts."""

    pixels: PixelArray
    texts: tuple[str, ...]

    @classmethod
    def of(cls, bundle: Path, count: int) -> Inputs:
        """Read `count` images and texts from a bundle's recording.

        Raises:
            BundleError: the bundle or its recording is damaged.
        """
        opened = BundleFolder.open(bundle)
        pixels, texts, _ = read_golden(bundle / GOLDEN, opened.manifest.precisions[0])
        return cls(pixels[np.arange(count) % len(pixels)], tuple(texts[i % len(texts)] for i in range(count)))

    def first(self, count: int) -> Inputs:
        """Return the first `count` inputs."""
        return Inputs(self.pixels[:count], self.texts[:count])
