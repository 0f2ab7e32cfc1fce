"""Folders of published models: local, and in the hub's cache without a network."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub.constants
import pytest

from cbalign.data.published import (
    CONFIG_FILES,
    hub_name,
    is_packaged,
    local_folder,
    published_folder,
    published_weights,
)
from cbalign.errors import CheckpointError

PLACE = "model.text.architecture"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with the model `org/small`, and no network."""
    revision = "0" * 40
    model = tmp_path / "models--org--small"
    snapshot = model / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(revision)
    (snapshot / "config.json").write_text(json.dumps({"model_type": "bert"}))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return snapshot


@pytest.mark.parametrize("name", ["org/small", "hf://org/small", "hf-hub:org/small"])
def test_a_model_that_was_downloaded_before_works_offline(cache: Path, name: str) -> None:
    assert hub_name(name) == "org/small"
    assert published_folder(name, PLACE, CONFIG_FILES).samefile(cache)
    found = local_folder(name)
    assert found is not None
    assert found.samefile(cache)


@pytest.mark.parametrize("name", ["org/other", "hf://org/other", "a/b/c", "/nowhere/at/all"])
def test_an_unreachable_name_is_one_message(cache: Path, name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        published_folder(name, PLACE, CONFIG_FILES)
    assert str(caught.value).startswith(f"{PLACE}: ")
    assert "neither a folder nor a model that can be downloaded" in caught.value.message
    assert "\n" not in caught.value.message
    assert local_folder(name) is None


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert published_folder(str(tmp_path), PLACE, CONFIG_FILES) == tmp_path
    assert local_folder(str(tmp_path)) == tmp_path
    assert not is_packaged(str(tmp_path))


def test_weights_may_be_pickled_but_must_exist(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="contains no weights"):
        published_weights(str(tmp_path), PLACE)
    (tmp_path / "pytorch_model.bin").touch()
    assert published_weights(str(tmp_path), PLACE) == tmp_path
