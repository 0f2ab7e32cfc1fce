"""Specs in Python."""

from pathlib import Path

import numpy as np
import pytest

import cbalign
from cbalign.errors import SpecError
from tests.api.conftest import SPEC


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_spec_may_come_from_a_recipe_a_file_a_dict_or_a_spec(tmp_path):
    recipe = cbalign.spec("quickstart")
    path = recipe.save(tmp_path / "saved.yaml")
    assert isinstance(path, Path)
    assert cbalign.spec(path).to_dict() == recipe.to_dict()
    assert cbalign.spec(str(path)).to_dict() == recipe.to_dict()
    assert cbalign.spec(recipe.to_dict()).to_dict() == recipe.to_dict()
    assert cbalign.spec(recipe).to_dict() == recipe.to_dict()
    assert cbalign.spec({"extends": "quickstart", "name": "other"}).name == "other"


def test_changes_have_dotted_paths():
    spec = cbalign.spec("quickstart", name="mine", **{"train.duration": "2 epochs", "train.optimizer.lr": 5e-4})
    assert spec.name == "mine"
    assert spec["train.duration"] == "2 epochs"
    assert spec["train.optimizer.lr"] == 5e-4
    assert spec.experiment.train.optimizer.lr == 5e-4
    section = {"source": "scenes", "split": "validation", "size": 4, "render_size": 32}
    assert cbalign.spec(spec, **{"data.validation": section})["data.validation.size"] == 4
    plain = cbalign.spec("quickstart", **{"train.optimizer.lr": np.float32(0.5), "train.seed": np.int64(3)})
    assert plain["train.optimizer.lr"] == 0.5
    assert plain["train.seed"] == 3
    assert cbalign.spec("quickstart", **{"data.test": None})["data.test"] is None


def test_with_changes_a_copy():
    spec = cbalign.spec(SPEC, **{"train.duration": "3 steps"})
    other = spec.with_(**{"train.optimizer.lr": 0.25})
    assert other["train.duration"] == "3 steps"
    assert other["train.optimizer.lr"] == 0.25
    assert spec["train.optimizer.lr"] != 0.25
    assert list(cbalign.diff(spec, other).differences) == ["train.optimizer.lr"]


def test_a_later_section_replaces_an_earlier_one():
    scenes = {"source": "scenes", "split": "validation", "size": 4, "render_size": 32}
    spec = cbalign.spec("quickstart", **{"data.validation": scenes, "train.seed": 4})
    other = spec.with_(**{"data.validation": {"source": "openmoji", "split": "validation"}})
    assert other["data.validation.source"] == "openmoji"
    assert other["train.seed"] == 4


def test_values_have_origins():
    spec = cbalign.spec("quickstart", **{"train.optimizer.lr": 0.25})
    assert spec.origin("train.parallel") == "default"
    assert "--set" in spec.origin("train.optimizer.lr")
    assert "quickstart.yaml:" in spec.origin("name")
    assert cbalign.spec(SPEC).origin("model.joint_dim").startswith("dict:")
    assert spec["evaluate.0.on"] == "validation"


@pytest.mark.parametrize("path", ["train.nothing", "nothing", "evaluate.9", "train.duration.unit.x", "", "name.upper"])
def test_an_unknown_path_is_a_key_error(path):
    spec = cbalign.spec("quickstart")
    with pytest.raises(KeyError):
        spec[path]
    with pytest.raises(KeyError):
        spec.origin(path)


def test_a_spec_is_a_mapping_of_its_settings():
    spec = cbalign.spec(SPEC)
    assert "train.duration" in spec
    assert "train.nothing" not in spec
    assert 3 not in spec
    assert list(spec)[:2] == ["cbalign", "name"]
    assert len(spec) == len(list(spec)) == len(dict(spec))
    assert dict(spec)["train.duration"] == "4 steps"
    assert list(spec.keys()) == list(spec)


def test_one_text_is_a_list_of_one():
    spec = cbalign.spec(SPEC, overrides="train.duration=3 steps")
    assert spec["train.duration"] == "3 steps"
    assert list(cbalign.diff(SPEC, spec, only="train.duration").differences) == ["train.duration"]
    assert not cbalign.diff(SPEC, spec, ignore="train.duration")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.vision.depth": 2}, "cbalign calls it `layers`"),
        ({"model.text.num_hidden_layers": 2}, "cbalign calls it `layers`"),
        ({"train.schedule.warmup": "9 steps"}, r"train\.schedule\.warmup: 9 steps\) is longer than the training"),
    ],
)
def test_messages_name_the_setting(changes, message):
    with pytest.raises(SpecError, match=message):
        cbalign.spec(SPEC, **changes)


def test_a_spec_shows_itself():
    spec = cbalign.spec(SPEC, **{"train.optimizer.lr": 0.25})
    assert repr(spec).startswith("Spec 'mine', values that are not defaults:\n")
    assert "  train.optimizer.lr: 0.25" in repr(spec)
    page = spec._repr_html_()
    assert "<code>train.optimizer.lr</code></td><td>0.25</td>" in page
    assert "&lt;dict&gt;" not in page
    assert spec.to_dict()["train"]["optimizer"]["lr"] == 0.25
    assert "lr: 0.25" in spec.to_yaml()


@pytest.mark.parametrize(
    ("source", "changes", "parts"),
    [
        ("nothing", {}, ["nothing"]),
        ("missing.yaml", {}, ["missing.yaml"]),
        ("quickstart", {"train.durattion": "2 epochs"}, ["durattion", "duration"]),
        ("quickstart", {"train.duration": "2 weeks"}, ["train.duration", "2 weeks"]),
        ({"cbalign": 1, "name": "x"}, {}, ["data"]),
        ({**SPEC, "moddel": {}}, {}, ["dict:", "moddel"]),
        ({**SPEC, "train": {"batch_size": 0}}, {}, ["dict:", "train.batch_size"]),
        ({}, {}, []),
    ],
)
def test_mistakes_are_named_with_their_place(source, changes, parts):
    with pytest.raises(SpecError) as caught:
        cbalign.spec(source, **changes)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


@pytest.mark.parametrize("source", [None, 3, ["quickstart"], b"quickstart"])
def test_other_objects_are_refused(source):
    with pytest.raises(SpecError, match="is not a spec"):
        cbalign.spec(source)


def test_plan():
    pytest.importorskip("torch")
    plan = cbalign.plan(SPEC, gpus=["h100-80gb"], devices=2, **{"train.batch_size": 6})
    data = plan.to_dict()
    assert data["name"] == "mine"
    assert repr(plan).startswith("plan of mine")
    assert "h100-80gb" in repr(plan)
    assert "<pre>" in plan._repr_html_()
    fitted = cbalign.plan(cbalign.spec(SPEC), fit="h100-80gb")
    assert fitted.batch_size >= 4
    assert fitted.to_dict()["fit"]
    assert "h100-80gb" in repr(cbalign.plan(SPEC, gpus="h100-80gb"))
    assert " 0.0 G" not in repr(plan)
    with pytest.raises(cbalign.errors.UsageError, match="devices must be a whole number of at least 1, not 0"):
        cbalign.plan(SPEC, devices=0)
    with pytest.raises(cbalign.errors.CbalignError, match="h1000"):
        cbalign.plan(SPEC, gpus=["h1000"])
