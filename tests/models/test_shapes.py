"""Sizes that are computed from a spec are those of the model that is built from it."""

import re

import pytest
import timm
import torch

from cbalign.experiment.architectures import vit_config
from cbalign.experiment.derived import derived_quantities
from cbalign.experiment.load import load_experiment
from cbalign.experiment.shapes import UnknownSizes, teacher_parameters, tensor_shapes, trainable_parameters
from cbalign.lab.plan.memory import checkpoint_bytes, size_of
from cbalign.lab.plan.training import untrained

SPECS = {
    "quickstart": ("quickstart", []),
    "ALBEF, no codebook": ("albef", []),
    "CLIP, one tower each": ("clip", []),
    "the paper's": ("defaults.yaml", []),
    "another patch": ("quickstart", ["model.vision.patch_size=8", "model.vision.width=96", "model.vision.heads=3"]),
    "a stem of convolutions": ("quickstart", ["model.vision.stem=convolutions", "model.vision.patch_size=16"]),
    "a random text tower": (
        "quickstart",
        ["model.text={init: random, width: 48, heads: 4, intermediate: 100, layers: 2}", "model.fusion.layers=1"],
    ),
    "a constant temperature": ("quickstart", ["model.temperature.learned=false", "model.queue.length=0"]),
    "words but no matches": (
        "quickstart",
        ["objectives.matching.weight=0", "evaluate=[]", "model.joint_dim=32", "model.vision.image_size=80"],
    ),
    "two images": ("paper/nlvr2", []),
    "two images, one text": ("paper/nlvr2-text-assignment", ["model.vision.width=96", "model.vision.init=random"]),
    "entailment": ("paper/snli-ve-albef", []),
    "answers": ("vqa-easy", ["model.text.tokenizer=pretrained", "init=null"]),
}


@pytest.fixture(params=SPECS.values(), ids=SPECS)
def experiment(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CBALIGN_PRETRAINED", "runs/none")
    (tmp_path / "defaults.yaml").write_text("cbalign: 1\nname: d\ndata: {train: {source: openmoji, split: train}}\n")
    path, overrides = request.param
    return load_experiment(path, overrides, check_files=False).experiment


def on_meta(experiment, vocabulary=30522):
    with torch.device("meta"):
        return untrained(experiment, vocabulary)


def test_every_tensor_has_the_name_and_shape_that_the_spec_foretells(experiment):
    built = {name: tuple(tensor.shape) for name, tensor in on_meta(experiment).state_dict().items()}
    assert tensor_shapes(experiment) == built


def test_parameters_and_bytes_are_those_of_the_model(experiment):
    model = on_meta(experiment)
    shapes = tensor_shapes(experiment)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert trainable_parameters(experiment, shapes) == sum(parameter.numel() for parameter in trainable)
    assert teacher_parameters(shapes) == sum(p.numel() for n, p in model.named_parameters() if "teacher." in n)
    told = {quantity.name: quantity.value for quantity in derived_quantities(experiment)}
    state = size_of(model.state_dict().values())
    assert told["checkpoint"] == checkpoint_bytes(model)
    assert told["memory before activations"] == state + 3 * size_of(trainable)


def test_the_length_of_a_trained_vocabulary_has_to_be_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = ["model.text={init: random, tokenizer: captions, vocabulary: 900}"]
    experiment = load_experiment("quickstart", overrides, check_files=False).experiment
    with pytest.raises(UnknownSizes, match="at most 900 tokens"):
        tensor_shapes(experiment)
    built = {name: tuple(tensor.shape) for name, tensor in on_meta(experiment, 321).state_dict().items()}
    assert tensor_shapes(experiment, 321) == built


PLAIN = [name for name in timm.list_models(["vit_*", "deit_*"]) if vit_config(name) is not None]


def test_the_common_vision_transformers_are_known():
    assert {"vit_base_patch16_224", "vit_tiny_patch16_224", "vit_large_patch14_224", "deit_small_patch16_224"} <= {
        *PLAIN
    }


@pytest.mark.parametrize("name", PLAIN)
def test_a_vision_transformer_known_by_name_is_timms(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    side = 2 * int(re.search(r"patch(\d+)", name)[1])
    overrides = [f"model.vision.architecture={name}", f"model.vision.image_size={side}", "~model.vision.layers"]
    experiment = load_experiment("quickstart", overrides, check_files=False).experiment
    with torch.device("meta"):
        timms = timm.create_model(name, img_size=side, num_classes=0).state_dict()
    prefix = "student.vision.transformer."
    told = {n.removeprefix(prefix): shape for n, shape in tensor_shapes(experiment).items() if n.startswith(prefix)}
    assert told == {n: tuple(tensor.shape) for n, tensor in timms.items()}
