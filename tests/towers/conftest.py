"""Small trainings on random pictures, with a feature cache of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.towers.pictures import write_pictures


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The folder of kept features of this test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CBALIGN_CACHE", str(folder))
    return folder / "features"


@pytest.fixture
def pictures(tmp_path, cache) -> Path:
    """A folder with pictures, lists and specs."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    return write_pictures(folder)
