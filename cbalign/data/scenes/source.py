"""Scenes as pairs of picture and captions, for pretraining and retrieval."""

from __future__ import annotations

from PIL import Image

from cbalign.data.scenes.captions import CAPTIONS, captions_of
from cbalign.data.scenes.drawing import draw, png
from cbalign.data.scenes.graph import scene_of
from cbalign.data.sections.drawings import ScenesSplit
from cbalign.data.source import Entry


class Scenes:
    """The first scenes of a split, each with three captions; keeps `StoredSource`.

    Nothing is stored: a picture is drawn whenever it is asked for.

    Args:
        split: which scenes.
        size: how many.
        render_size: side of a picture in pixels.
        seed: of all of them.
    """

    def __init__(self, split: ScenesSplit, size: int, *, render_size: int, seed: int) -> None:
        self.name = f"scenes {split}"
        self._split: ScenesSplit = split
        self._length = size
        self._render_size = render_size
        self._seed = seed

    def __len__(self) -> int:
        return self._length

    def entry(self, index: int) -> Entry:
        """The captions of scene `index`; every scene is an image of its own."""
        captions = captions_of(self._split, index, self._seed)
        return Entry(image_key=f"{self._split}-{self._seed}-{index}", captions=captions, image_id=index)

    def load(self, index: int) -> Image.Image:
        """Scene `index`, (render_size, render_size) RGB."""
        return draw(scene_of(self._split, index, self._seed), self._render_size)

    def read(self, index: int) -> bytes:
        """Scene `index` as a PNG file."""
        return png(self.load(index))

    def describe(self) -> str:
        """One line for logs."""
        return f"{self.name}: {len(self):,} drawn scenes with {CAPTIONS} captions each, {self._render_size} px"
