"""Class names of a pretrained image tower as further pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models import save_for_hf

import cbalign
from cbalign.engine.checkpoint import read_model
from cbalign.engine.reporter import Silent
from cbalign.errors import SpecError
from cbalign.objectives.class_names import ClassNames
from cbalign.objectives.clip import symmetric_contrast
from cbalign.objectives.features import Embeddings
from cbalign.tasks.train import resume_run
from tests.objectives import equations
from tests.towers.conftest import spread_weights
from tests.towers.pictures import logged, rewind, train, write_pictures

LABELS = ["green, lime", "red", "blue, navy blue, azure"]
SIZE = 32
UNSET = ("patch_size", "layers", "width", "heads")
ONLY = "objectives: {class_names: {samples: 3}, matching: {weight: 0}, masked_language: {weight: 0}}\n"


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Specs whose image tower is a small EfficientNet in the hub's layout, with three named classes."""
    monkeypatch.setenv("CBALIGN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pictures"
    folder.mkdir()
    write_pictures(folder)
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", num_classes=len(LABELS))
    spread_weights(model)
    save_for_hf(model, folder / "tower", model_config={"label_names": LABELS}, safe_serialization=True)
    vision = {"architecture": str(folder / "tower"), "init": str(folder / "tower"), "image_size": SIZE, "drop_path": 0}
    vision |= dict.fromkeys(UNSET)
    spec = f"extends: pretrain.yaml\nname: classes\nmodel:\n  vision: {json.dumps(vision)}\n{ONLY}"
    (folder / "classes.yaml").write_text(spec)
    return folder


@pytest.mark.parametrize("text", ["all", "frozen"])
def test_training_aligns_classes_with_their_names(text, pictures):
    changes = (f"model.text.train={text}", "train.duration=40 steps", "train.evaluate_every=null", "evaluate=[]")
    run = train(pictures / "classes.yaml", *changes)
    losses = [line["loss/class_names"] for line in logged(run) if "loss/class_names" in line]
    assert len(losses) == 40
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_the_classifier_is_saved_and_resuming_is_bit_identical(pictures):
    spec = pictures / "classes.yaml"
    whole = train(spec, "evaluate=[]", runs="whole")
    stopped = train(spec, "evaluate=[]", "train.keep_checkpoints=9", runs="stopped")
    rewind(stopped, 3, last=6)
    resumed = resume_run(stopped.run, (), Silent())
    expected, found = (read_model(each.run.checkpoints / "step-6") for each in (whole, resumed))
    assert all(found[name].equal(tensor) for name, tensor in expected.items())
    classifier = load_file(pictures / "tower/model.safetensors")["classifier.weight"]
    assert found["objectives.class_names.rows"].equal(classifier)


def test_features_of_classes_follow_from_means_and_covariance(pictures):
    run = train(pictures / "classes.yaml", "evaluate=[]")
    state = read_model(sorted(run.run.folder.glob("checkpoints/step-*"))[-1])
    named = {name: state[f"objectives.class_names.{name}"] for name in ("rows", "mean", "moment", "least", "seen")}
    assert int(named["seen"]) == 6 * 4
    objective = ClassNames.__new__(ClassNames)
    torch.nn.Module.__init__(objective)
    for name, value in named.items():
        objective.register_buffer(name, value)
    found = objective.features(torch.tensor([2, 0]))
    rows, mean, moment = (named[name].double().numpy() for name in ("rows", "mean", "moment"))
    for row, c in zip(found, (2, 0)):
        wanted = mean + (moment - np.outer(mean, mean)) @ rows[c]
        np.testing.assert_allclose(row.numpy(), np.maximum(wanted, named["least"].numpy()), atol=1e-5)


def test_loss_equals_the_equation():
    torch.manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(4, 5, dtype=torch.float64), dim=1) for _ in range(2))
    total = 0.0
    for a, b in ((images, texts), (texts, images)):
        for i in range(4):
            logits = [equations.dot(a[i].tolist(), b[j].tolist()) / 0.3 for j in range(4)]
            total += equations.cross_entropy([float(i == j) for j in range(4)], logits) / 8
    pairs = Embeddings(images, texts)
    assert float(symmetric_contrast(pairs, pairs, torch.eye(4), torch.tensor(0.3))) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.vision.train=all"], "its classifier no longer fits"),
        (["model.vision.init=random"], "no classifier"),
        (["objectives.class_names.samples=4"], "the weights of model.vision have 3 classes"),
        (["model.vision.pooling=mean"], "no classes with known names"),
    ],
)
def test_a_tower_without_a_usable_classifier_is_refused(changes, message, pictures):
    with pytest.raises(SpecError, match=message) as raised:
        train(pictures / "classes.yaml", "evaluate=[]", *changes)
    assert raised.value.remedy
    assert not (pictures / "runs").exists() or not list((pictures / "runs").glob("*/checkpoints/step-*"))


def test_plan_counts_a_step_without_knowing_the_names(pictures):
    for text in ("all", "frozen"):
        spec = cbalign.spec(pictures / "classes.yaml", **{"model.text.train": text, "evaluate": []})
        assert cbalign.plan(spec).to_dict()["operations"]["per_step"] > 0
