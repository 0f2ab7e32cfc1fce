"""Features of frozen image towers that are kept on disk."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors import SafetensorError

from cbalign.data.feature_store import FeatureStore
from cbalign.engine.checkpoint import read_model
from cbalign.engine.reporter import Silent
from cbalign.errors import DataError, StorageError
from cbalign.tasks.train import resume_run
from tests.towers.pictures import logged, logged_by, rewind, train

TOLERANCE = 1e-5
"""Of losses in float32: batches of another size round in another way, so that few features differ in the last bit of
float16."""


def assert_close(found: list[dict], expected: list[dict], tolerance: float) -> None:
    assert len(found) == len(expected) > 6
    for one, other in zip(found, expected):
        assert one.keys() == other.keys()
        for name, value in other.items():
            assert one[name] == (pytest.approx(value, abs=tolerance, rel=tolerance) if name != "kind" else value), name


@pytest.mark.parametrize("task", ["pretrain", "nlvr2", "vqa"])
def test_training_gives_the_same_numbers_with_and_without_kept_features(task, pictures, cache):
    spec = pictures / f"{task}.yaml"
    plain = logged(train(spec, "train.feature_cache=off", runs="plain"))
    assert not cache.exists()
    computed = logged(train(spec, runs="first"))
    assert len(list(cache.iterdir())) == 2, "augmented features of the training, plain ones of the evaluation"
    read = logged(train(spec, runs="second"))
    assert_close(computed, plain, TOLERANCE)
    assert read == computed


@pytest.mark.parametrize("changes", [(), ("objectives.matching.weight=0", "objectives.masked_language.weight=0")])
def test_captions_of_a_frozen_text_tower_give_the_same_numbers(changes, pictures, cache):
    spec, frozen = pictures / "pretrain.yaml", ("model.text.train=frozen", "evaluate.0.protocols=[dual]", *changes)
    plain = logged(train(spec, *frozen, "train.feature_cache=off", runs="plain"))
    assert_close(logged(train(spec, *frozen, runs="kept")), plain, TOLERANCE)
    assert len(list(cache.iterdir())) == 3


def test_captions_are_read_from_disk(pictures, cache, monkeypatch):
    spec, frozen = pictures / "pretrain.yaml", ("model.text.train=frozen", "evaluate=[]")
    expected = logged(train(spec, *frozen, "objectives.masked_language.weight=0", runs="first"))

    def forward(self, *inputs):
        raise AssertionError("the text tower ran")

    monkeypatch.setattr("cbalign.models.bert.BertTextTower.forward", forward)
    assert logged(train(spec, *frozen, "objectives.masked_language.weight=0", runs="second")) == expected


def test_resuming_with_kept_features_is_bit_identical(pictures, cache):
    spec = pictures / "pretrain.yaml"
    whole = train(spec, runs="whole")
    stopped = train(spec, "train.duration=6 steps", "train.keep_checkpoints=9", runs="stopped")
    rewind(stopped, 3, last=6)
    resumed = resume_run(stopped.run, (), Silent())
    expected, found = (read_model(each.run.checkpoints / "step-6") for each in (whole, resumed))
    assert expected.keys() == found.keys()
    assert all(found[name].equal(tensor) for name, tensor in expected.items())


def test_a_damaged_shard_is_computed_again(pictures, cache, caplog):
    spec = pictures / "pretrain.yaml"
    expected = logged(train(spec, runs="first"))
    shards = sorted(cache.rglob("shard-*"))
    content = bytearray(shards[0].read_bytes())
    content[-10] ^= 255
    shards[0].write_bytes(content)
    shards[1].write_bytes(shards[1].read_bytes()[:-10])
    assert logged(train(spec, runs="second")) == expected
    assert caplog.text.count("is damaged") == 2


def test_a_full_disk_is_one_message_and_leaves_nothing_half_written(pictures, cache, monkeypatch):
    free = shutil.disk_usage(pictures)._replace(free=100)
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    with pytest.raises(StorageError, match=r"need 0 MB in .*features.*: 0 MB are free") as caught:
        train(pictures / "pretrain.yaml")
    assert "CBALIGN_CACHE" in caught.value.remedy
    assert "feature_cache: off" in caught.value.remedy
    assert not list(cache.rglob("shard-*"))


def test_a_write_that_fails_leaves_nothing_half_written(pictures, cache, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("cbalign.data.feature_store.save_file", full)
    with pytest.raises(StorageError, match="the disk is full"):
        train(pictures / "pretrain.yaml")
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["about.json"]


def test_unreadable_images_are_replaced_as_without_kept_features(pictures, cache):
    (pictures / "3.png").write_bytes(b"no image")
    (pictures / "7.png").unlink()
    spec, allowed = pictures / "pretrain.yaml", "data.corrupt_limit=0.5"
    plain = logged(train(spec, allowed, "train.feature_cache=off", runs="plain"))
    assert_close(logged(train(spec, allowed, runs="kept")), plain, TOLERANCE)
    with pytest.raises(DataError, match="missing or corrupt"):
        train(spec, "data.corrupt_limit=0.1")


def test_other_weights_preprocessing_or_augmentation_have_other_features(pictures, cache):
    spec = pictures / "pretrain.yaml"
    train(spec)
    assert len(list(cache.iterdir())) == 2
    train(spec, "model.vision.image_size=24")
    assert len(list(cache.iterdir())) == 4
    train(spec, "data.augmentation.flip=false")
    assert len(list(cache.iterdir())) == 5, "the evaluation reads unaugmented images"
    train(spec, "train.seed=1")
    assert len(list(cache.iterdir())) == 7, "another seed gives other random weights"
    shards = len(list(cache.rglob("shard-*")))
    train(spec, "data.augmentation.views=2")
    assert len(list(cache.rglob("shard-*"))) == shards, "the first views of three"


def test_only_pooled_vectors_are_kept_where_nothing_reads_tokens(pictures, cache):
    spec = pictures / "pretrain.yaml"
    changes = ("objectives.matching.weight=0", "objectives.masked_language.weight=0", "evaluate.0.protocols=[dual]")
    plain = logged(train(spec, *changes, "train.feature_cache=off", runs="plain"))
    assert_close(logged(train(spec, *changes, runs="kept")), plain, TOLERANCE)
    (store,) = {path.parent for path in cache.rglob("shard-*") if '"augmentation": null' in _about(path)}
    assert next(iter(store_arrays(store))).shape == (16,)


def test_without_augmentation_there_is_one_view(pictures, cache):
    spec = pictures / "pretrain.yaml"
    plain = logged(train(spec, "data.augmentation=null", "train.feature_cache=off", runs="plain"))
    assert_close(logged(train(spec, "data.augmentation=null", runs="kept")), plain, TOLERANCE)
    assert len(list(cache.iterdir())) == 1, "training and evaluation read the same features"


def test_new_views_in_each_epoch_are_not_kept(pictures, cache):
    train(pictures / "pretrain.yaml", "data.augmentation.views=null")
    assert not cache.exists()


def test_a_trained_tower_is_not_kept(pictures, cache):
    train(pictures / "pretrain.yaml", "model.vision.train=all")
    assert not cache.exists()


def _about(shard) -> str:
    return (shard.parent / "about.json").read_text()


def store_arrays(folder) -> list[np.ndarray]:
    store = FeatureStore(folder)
    return [np.asarray(store[key]) for key in store.keys()]  # noqa: SIM118 (no mapping)


@pytest.mark.slow
def test_two_processes_share_the_work_and_give_the_same_numbers(pictures, cache):
    spec = pictures / "pretrain.yaml"
    found = []
    for name, setting in (("plain", "off"), ("kept", "auto")):
        command = [
            sys.executable,
            "-m",
            "cbalign",
            "train",
            str(spec),
            "--nproc",
            "2",
            "--runs-dir",
            str(pictures / name),
        ]
        changes = [f"--set=train.feature_cache={setting}", "--set=train.batch_size=2", "--set=model.text.train=frozen"]
        done = subprocess.run([*command, *changes], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found.append(logged_by(next((pictures / name).glob("pretrain-*"))))
    assert_close(found[1], found[0], TOLERANCE)
    images = [path for path in cache.iterdir() if '"preprocessing"' in (path / "about.json").read_text()]
    assert all(len(list(folder.glob("shard-*"))) == 2 for folder in images), "one of each process"
