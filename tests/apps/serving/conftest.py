from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbalign.runtime.session import Session
from tests.apps.search.conftest import photos, session
from tests.runtime.conftest import bundle

__all__ = ["bundle", "photos", "session"]


def png(colour: str = "red", size: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(file, "PNG")
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture
def expected_red(session: Session) -> list[float]:
    return session.encode_images([Image.new("RGB", (8, 8), "red")]).embedding[0].tolist()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
