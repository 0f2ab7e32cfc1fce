"""A checkpoint of another form becomes one message that says what it looks like and what to do; nothing is written."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.interop.checkpoints.conftest import call, refused
from tests.interop.checkpoints.test_numbers import (
    OPEN_CLIP,
    salesforce,
    write_blip,
    write_clip,
    write_open_clip,
    write_siglip,
)

REFERENCE = Path(__file__).parents[2] / "reference" / "albef-tiny" / "pretrain.safetensors"


@pytest.mark.parametrize(
    ("asked", "given", "command"),
    [
        ("siglip", "clip", "cbalign import clip"),
        ("clip", "siglip", "cbalign import siglip"),
        ("clip", "blip", "cbalign import blip"),
        ("siglip", "open_clip", "cbalign import open_clip"),
        ("open_clip", "clip", "cbalign import clip"),
        ("blip", "open_clip", "cbalign import open_clip"),
        ("albef", "clip", "cbalign import clip"),
        ("albef", "blip", "cbalign import blip"),
        ("open_clip", "albef", "cbalign import albef"),
    ],
)
def test_another_family_is_named_with_its_command(asked, given, command, place):
    if given == "albef":
        torch.save(load_file(REFERENCE), "model.pth")
    elif given == "blip" and asked == "albef":
        torch.save(salesforce(write_blip(place / "blip")), "model.pth")
    elif given == "open_clip":
        write_open_clip(place / "model", OPEN_CLIP["ViT"])
    else:
        {"clip": write_clip, "siglip": write_siglip, "blip": write_blip}[given](place / "model")
    file = "model.pth" if Path("model.pth").is_file() else "model"
    if asked == "albef" and file == "model":
        file = "model/model.safetensors"
    assert f"{command} {file}" in refused(asked, file)


def test_a_torchscript_program_is_not_executed(place):
    torch.jit.script(torch.nn.Linear(2, 2)).save("ViT-B-32.pt")
    assert "TorchScript program" in refused("clip", "ViT-B-32.pt")


def test_pickled_code_does_not_run(place, capfd):
    class Harmful:
        def __reduce__(self):
            return (print, ("code ran",))

    Path("evil.pt").write_bytes(pickle.dumps({"model": Harmful()}, protocol=2))
    for form in ("clip", "open_clip", "siglip", "blip"):
        assert "evil.pt" in refused(form, "evil.pt")
    assert "code ran" not in capfd.readouterr().out


def test_a_file_of_open_clip_needs_its_configuration(place):
    write_open_clip(place / "model", OPEN_CLIP["ViT"])
    Path("model/open_clip_config.json").rename("config.json")
    told = refused("open_clip", "model/open_clip_model.safetensors", "--tokenizer", "model")
    assert "--config" in told
    options = ("--config", "config.json", "--tokenizer", "model")
    assert call("open_clip", "model/open_clip_model.safetensors", *options).exit_code == 0


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("vision_cfg", {"pool_type": "avg"}, "vision_cfg.pool_type is 'avg'"),
        ("text_cfg", {"embed_cls": True}, "text_cfg.embed_cls is True"),
        ("text_cfg", {"pool_type": "last"}, "text_cfg.pool_type is 'last'"),
        ("vision_cfg", {"timm_model_name": "convnext_atto", "timm_proj": "mlp"}, "timm_proj is 'mlp'"),
        ("text_cfg", {"width": 32, "hf_model_name": "x", "hf_pooler_type": "max_pooler"}, "hf_pooler_type"),
    ],
)
def test_a_tower_that_cbalign_does_not_have_is_named(part, change, message, place):
    write_open_clip(place / "model", OPEN_CLIP["ViT"])
    config = json.loads(Path("model/open_clip_config.json").read_text())
    config["model_cfg"][part] |= change
    Path("model/open_clip_config.json").write_text(json.dumps(config))
    assert message in refused("open_clip", "model")


def test_a_missing_tensor_and_a_foreign_one_are_named(place):
    write_open_clip(place / "model", OPEN_CLIP["ViT"])
    file = Path("model/open_clip_model.safetensors")
    whole = load_file(file)
    save_file({n: t for n, t in whole.items() if n != "visual.ln_post.bias"}, file)
    assert "ln_post.bias is missing" in refused("open_clip", "model")
    save_file(whole | {"visual.transformer.resblocks.0.ls_1.gamma": torch.ones(48)}, file)
    assert "ls_1.gamma" in refused("open_clip", "model")


def test_a_missing_tokenizer_is_asked_for(place):
    write_clip(place / "clip")
    Path("clip/tokenizer.json").unlink()
    assert "--tokenizer FOLDER" in refused("clip", "clip")


def test_a_name_that_cannot_be_downloaded(place, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "nobody/nothing" in refused("clip", "hf://nobody/nothing")
