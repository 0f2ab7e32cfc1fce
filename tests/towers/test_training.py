"""How much of a tower is trained."""

from __future__ import annotations

import sys

import pytest
import torch

from cbalign.data.text import VocabularyInfo
from cbalign.engine.checkpoint import MODEL, load_model_weights, read_model
from cbalign.engine.checkpoint_folder import latest_checkpoint
from cbalign.errors import MissingExtraError, SpecError
from cbalign.experiment.dump import experiment_fingerprint
from cbalign.experiment.load import load_experiment
from cbalign.tasks.kit import kit_of
from cbalign.tasks.learner import tower_groups
from tests.towers.pictures import train


def build(pictures, *overrides: str):
    """The model of `pretrain.yaml`, on the CPU."""
    experiment = load_experiment(pictures / "pretrain.yaml", overrides).experiment
    return kit_of(experiment).build_model(experiment, VocabularyInfo(50, 1, 2), initialise=True), experiment


def test_a_frozen_tower_is_shared_still_and_without_optimiser_state(pictures):
    model, experiment = build(pictures)
    model.train()
    vision = model.student.vision
    assert model.teacher.network.vision is vision
    assert not any(module.training for module in vision.modules())
    assert not any(p.requires_grad for p in vision.parameters())
    assert model.student.text.training
    assert model.teacher.network.text is not model.student.text
    trained = [p for g in tower_groups(model, model.student, experiment.train.optimizer) for p in g.parameters]
    assert not {id(p) for p in trained} & {id(p) for p in vision.parameters()}


def test_a_frozen_tower_keeps_its_weights_and_is_stored_once(pictures):
    trained = train(pictures / "pretrain.yaml")
    first, last = (read_model(trained.run.checkpoints / f"step-{n}") for n in (3, 6))
    names = [name for name in last if name.startswith("student.vision.")]
    assert names
    for name in names:
        assert last[name].equal(first[name])
        assert last[name.replace("student.", "teacher.network.")] is last[name]
    moments = torch.load(trained.run.checkpoints / "step-6" / "optimizer.pt", weights_only=True)
    assert moments
    assert not [name for name in moments if ".vision." in name]
    stored = (trained.run.checkpoints / "step-6" / MODEL).stat().st_size
    whole = train(pictures / "pretrain.yaml", "model.vision.train=all", runs="whole")
    assert stored < (whole.run.checkpoints / "step-6" / MODEL).stat().st_size


def test_a_frozen_tower_starts_from_the_student_of_a_run_that_trained_it(pictures):
    whole = train(pictures / "pretrain.yaml", "model.vision.train=all", "model.teacher.momentum=0.5", runs="whole")
    frozen = train(pictures / "pretrain.yaml", f"init.run={whole.run.folder}", runs="frozen")
    before, after = (read_model(latest_checkpoint(each.run.checkpoints)) for each in (whole, frozen))
    names = [name for name in after if name.startswith("student.vision.") and "weight" in name]
    assert any(not before[n].equal(before[n.replace("student.", "teacher.network.")]) for n in names)
    assert all(after[n].equal(before[n]) for n in names)


def test_the_image_tower_runs_once_where_both_read_the_same_view(pictures, monkeypatch):
    from cbalign.models.vision import TimmVisionTower

    calls = []
    encode = TimmVisionTower.encode
    monkeypatch.setattr(TimmVisionTower, "encode", lambda self, x: (calls.append(len(x)), encode(self, x))[1])
    changes = ("train.feature_cache=off", "evaluate=[]", "data.augmentation.two_views=false", "train.duration=2 steps")
    train(pictures / "pretrain.yaml", *changes)
    assert calls == [4, 4]
    train(pictures / "nlvr2.yaml", *changes, runs="statements")
    assert calls[2:] == [8, 8], "both images of an item together"


def test_a_frozen_text_tower_encodes_each_text_once(pictures, monkeypatch):
    from cbalign.models.bert import BertTextTower

    calls = []
    forward = BertTextTower.forward
    monkeypatch.setattr(BertTextTower, "forward", lambda self, *x: (calls.append(len(x[0])), forward(self, *x))[1])
    once = ("model.text.train=frozen", "evaluate=[]", "train.duration=1 steps")
    train(pictures / "pretrain.yaml", *once, "train.feature_cache=off")
    assert calls == [8], "captions and masked captions, for student and teacher together"
    train(pictures / "pretrain.yaml", *once, runs="kept")
    assert calls[1:] == [12, 4], "all captions once, and the masked ones of the step"


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_last_blocks_and_what_follows_are_trained(pictures, blocks):
    model, _ = build(pictures, f"model.vision.train={{kind: last, blocks: {blocks}}}")
    vision = model.student.vision
    trained = {name.split(".")[2] for name, p in vision.named_parameters() if p.requires_grad and "blocks" in name}
    assert trained == {str(i) for i in range(2 - blocks, 2)}
    assert all(p.requires_grad for p in vision.transformer.norm.parameters())
    assert not any(p.requires_grad for p in vision.transformer.patch_embed.parameters())
    model.train()
    assert vision.transformer.blocks[1].training
    assert vision.transformer.blocks[0].training == (blocks == 2)
    teacher = model.teacher.network.vision
    assert teacher.transformer.patch_embed.proj.weight is vision.transformer.patch_embed.proj.weight
    assert teacher.transformer.norm.weight is not vision.transformer.norm.weight


def test_training_the_last_block_leaves_the_others(pictures):
    change = "model.vision.train={kind: last, blocks: 1}"
    trained = train(pictures / "pretrain.yaml", change, "train.optimizer.weight_decay=0.1")
    first, last = (read_model(trained.run.checkpoints / f"step-{n}") for n in (3, 6))
    changed = {n for n in last if n.startswith("student.vision.") and not last[n].equal(first[n])}
    assert changed
    assert all("blocks.1." in name or ".norm." in name for name in changed)


def test_more_blocks_than_the_tower_has_are_refused_with_the_place(pictures):
    with pytest.raises(SpecError, match=r"model\.vision\.train\.blocks: 3 blocks .* has 2") as caught:
        build(pictures, "model.vision.train={kind: last, blocks: 3}")
    assert "at most 2" in caught.value.remedy


def test_layer_decay_lowers_the_rate_from_block_to_block(pictures):
    changes = ("model.vision.train=all", "model.vision.layer_decay=0.5", "train.optimizer.vision_lr_scale=2")
    model, experiment = build(pictures, *changes)
    groups = tower_groups(model, model.student, experiment.train.optimizer)
    scale = {id(p): group.lr_scale for group in groups for p in group.parameters}
    transformer = model.student.vision.transformer
    assert scale[id(transformer.cls_token)] == scale[id(transformer.patch_embed.proj.weight)] == 2 * 0.5**3
    assert scale[id(transformer.blocks[0].mlp.fc1.weight)] == 2 * 0.5**2
    assert scale[id(transformer.blocks[1].mlp.fc1.weight)] == 2 * 0.5
    assert scale[id(transformer.norm.weight)] == 2
    assert scale[id(model.student.image_projection.weight)] == 1
    assert len(scale) == sum(p.requires_grad for p in model.parameters())


def test_settings_at_their_defaults_do_not_change_fingerprints(pictures):
    spec = pictures / "pretrain.yaml"
    plain = experiment_fingerprint(load_experiment(spec, ["model.vision.train=all"]).experiment)
    same = load_experiment(spec, ["model.vision.train={kind: all}", "model.vision.layer_decay=1"]).experiment
    assert experiment_fingerprint(same) == plain
    assert experiment_fingerprint(load_experiment(spec).experiment) != plain


LORA = "model.text.train={kind: lora, rank: 2}"


def test_only_adapters_are_trained(pictures):
    pytest.importorskip("peft")
    trained = train(pictures / "pretrain.yaml", LORA, "model.vision.train={kind: lora, rank: 3, targets: [qkv]}")
    first, last = (read_model(trained.run.checkpoints / f"step-{n}") for n in (3, 6))
    towers = [n for n in last if n.startswith(("student.text.", "student.vision."))]
    changed = {n for n in towers if not last[n].equal(first[n])}
    assert changed == {n for n in towers if "lora_" in n}
    assert {n.split(".")[-4] for n in changed if "vision" in n} == {"qkv"}
    assert {tuple(last[n].shape) for n in changed if "lora_A" in n} == {(3, 16), (2, 16)}
    base = [n for n in towers if ".base_layer." in n]
    assert all(last[n.replace("student.", "teacher.network.")] is last[n] for n in base), "shared with the teacher"
    moments = torch.load(trained.run.checkpoints / "step-6" / "optimizer.pt", weights_only=True)
    assert not [n for n in moments if ".base_layer." in n]


def test_adapters_are_merged_for_evaluation_and_export(pictures):
    pytest.importorskip("peft")
    trained = train(pictures / "pretrain.yaml", LORA, "model.vision.train=lora")
    kit = kit_of(trained.experiment)
    checkpoint = latest_checkpoint(trained.run.checkpoints)
    merged = kit.load(trained.run, trained.experiment, checkpoint, torch.device("cpu"))
    assert not [name for name in merged.module.state_dict() if "lora_" in name or "base_layer" in name]
    vocabulary = merged.tokenizer.info
    model = kit.build_model(trained.experiment, vocabulary, initialise=False)
    load_model_weights(model, checkpoint)
    model.eval()
    images = torch.randint(0, 255, (3, 3, 16, 16), dtype=torch.uint8)
    ids, mask = torch.tensor([[1, 5, 9], [1, 7, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    with torch.no_grad():
        adapted, plain = model(images, ids, mask), merged.module(images, ids, mask)
    torch.testing.assert_close(plain.image, adapted.image, rtol=0, atol=1e-6)
    torch.testing.assert_close(plain.text, adapted.text, rtol=0, atol=1e-6)


def test_a_model_with_adapters_starts_from_one_without_and_the_reverse(pictures):
    pytest.importorskip("peft")
    spec = pictures / "pretrain.yaml"
    plain = train(spec, "model.vision.train=all", runs="plain")
    adapted = train(spec, LORA, f"init.run={plain.run.folder}", runs="adapted")
    before, after = (read_model(latest_checkpoint(each.run.checkpoints)) for each in (plain, adapted))
    base = [n for n in after if n.startswith("student.text.") and ".base_layer." in n]
    assert base
    assert all(after[n].equal(before[n.replace(".base_layer.", ".")]) for n in base)
    again = train(spec, "model.text.train=frozen", f"init.run={adapted.run.folder}", runs="again")
    merged = read_model(latest_checkpoint(again.run.checkpoints))
    for name in base:
        own = name.replace(".base_layer.", ".")
        if name.endswith("weight"):
            a, b = (after[name.replace("base_layer", f"lora_{x}.default")] for x in "AB")
            assert b.abs().max() > 0
            torch.testing.assert_close(merged[own], before[own] + 2 * b @ a, rtol=0, atol=1e-6)


def test_adapters_for_layers_that_the_tower_lacks_are_refused(pictures):
    pytest.importorskip("peft")
    with pytest.raises(SpecError, match=r"model\.text\.train: .* no linear layers named qkv") as caught:
        build(pictures, "model.text.train={kind: lora, targets: [qkv]}")
    assert "contract, expand, key, output, query, value" in caught.value.remedy


def test_a_missing_peft_names_the_extra(pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"model\.text\.train: lora needs the package peft") as caught:
        build(pictures, LORA)
    assert "cbalign[lora]" in caught.value.remedy
