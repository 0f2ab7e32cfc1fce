"""The table of tensors that runs and `diff` record is that of the built model."""

import json

import pytest
import torch
from torch import nn

from cbalign.experiment.derived import Known, derived_quantities
from cbalign.experiment.load import load_experiment
from cbalign.experiment.tensors import TensorTable
from cbalign.lab.plan.memory import checkpoint_bytes, size_of
from cbalign.lab.plan.training import on_meta
from cbalign.models.momentum import teacher_parameters
from cbalign.models.recorded import tensor_table

SPECS = {
    "scratch": ("scratch", []),
    "no codebook": ("albef", []),
    "one tower each": ("clip", []),
    "a constant temperature": ("scratch", ["model.temperature.learned=false", "model.queue.length=0"]),
    "words but no matches": ("scratch", ["objectives.matching.weight=0", "evaluate=[]"]),
    "two images": ("paper/nlvr2", []),
    "two images, one text": ("paper/nlvr2-text-assignment", []),
    "entailment": ("paper/snli-ve-albef", []),
    "answers": ("vqa-easy", ["model.text.tokenizer=pretrained", "init=null"]),
}


def build(name, monkeypatch):
    monkeypatch.setenv("CBALIGN_PRETRAINED", "runs/none")
    path, overrides = SPECS[name]
    experiment = load_experiment(path, overrides, check_files=False).experiment
    return experiment, on_meta(experiment)


@pytest.mark.parametrize("name", SPECS)
def test_the_table_has_the_tensors_of_a_checkpoint_and_adds_up_to_the_model(name, monkeypatch):
    experiment, model = build(name, monkeypatch)
    table = tensor_table(model)
    assert table.shapes == {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert table.trainable_parameters == sum(p.numel() for p in trained) == sum(table.trainable_by_part().values())
    assert table.teacher_parameters == sum(p.numel() for p in teacher_parameters(model))
    state = size_of(model.state_dict().values())
    assert table.bytes == state
    found = {q.name: q.value for q in derived_quantities(experiment, Known(tensors=table))}
    assert found["checkpoint"] == checkpoint_bytes(model)
    assert found["memory before activations"] == state + 3 * size_of(trained)


@pytest.mark.parametrize("name", SPECS)
def test_a_table_survives_json(name, monkeypatch):
    table = tensor_table(build(name, monkeypatch)[1])
    assert TensorTable.from_json(json.loads(json.dumps(table.to_json()))) == table


@pytest.mark.parametrize("data", [None, {}, [1], [{}], [{"kind": "other"}], [{"kind": "buffer", "shapes": {"a": "x"}}]])
def test_what_is_no_table_is_refused(data):
    with pytest.raises(ValueError, match="tensor"):
        TensorTable.from_json(data)


def test_modules_name_the_part_that_their_tensors_belong_to(monkeypatch):
    _, model = build("scratch", monkeypatch)
    tensors = tensor_table(model).tensors
    for name, part in {
        "student.vision.transformer.cls_token": "image tower",
        "student.text.layers.0.attention.query.weight": "text tower",
        "student.fusion.layers.0.feed_forward.expand.bias": "fusion layers",
        "objectives.masked_language.head.student.bias": "masked-language head",
        "student.text_projection.weight": "projections",
        "objectives.matching.head.weight": "match head",
        "objectives.codebook.codebook.prototypes": "codebook",
        "temperature.value": "temperature",
        "text_queue.features": "queues, which refill by themselves",
    }.items():
        assert tensors[name].part == part
        assert not tensors[name].teacher
    taught = tensors["teacher.network.vision.transformer.cls_token"]
    assert (taught.part, taught.kind, taught.teacher) == ("image tower", "frozen", True)


def test_tied_tensors_are_counted_once():
    model = nn.ModuleDict({"words": nn.Embedding(10, 4), "output": nn.Linear(4, 10, bias=False)})
    model["output"].weight = model["words"].weight
    table = tensor_table(model)
    assert list(table.tensors) == ["words.weight", "output.weight"]
    assert (table.trainable_parameters, table.bytes) == (40, 160)


def test_a_vocabulary_that_comes_from_the_captions_has_its_largest_size():
    overrides = ["model.text={init: random, tokenizer: captions, vocabulary: 900}"]
    experiment = load_experiment("scratch", overrides, check_files=False).experiment
    assert on_meta(experiment).student.text.embeddings.words.weight.shape[0] == 900
    assert on_meta(experiment, 321).student.text.embeddings.words.weight.shape[0] == 321
    assert on_meta(experiment).student.text.embeddings.words.weight.device == torch.device("meta")
