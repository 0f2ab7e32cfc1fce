from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbalign.runtime.session import Session
from tests.runtime.conftest import bundle

__all__ = ["bundle"]


@pytest.fixture
def session(bundle: Path) -> Session:
    """An image's embedding is its mean colour, a text's one of the three colours by its number of tokens modulo 3."""
    return Session.open(bundle, "cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine pictures, three of each colour, the first of each the brightest."""
    folder = tmp_path / "photos"
    for channel, colour in enumerate(("red", "green", "blue")):
        (folder / colour).mkdir(parents=True)
        for number in range(3):
            write_photo(folder / colour / f"{number}.png", channel, 250 - 60 * number, 10 * (number + 1))
    return folder


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims to be this large and has one byte of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def write_photo(path: Path, channel: int, value: int, other: int = 0) -> None:
    picture = np.full((12, 16, 3), other, np.uint8)
    picture[..., channel] = value
    Image.fromarray(picture).save(path)
