"""The recorded numbers hold, and would not hold for another model."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.reference.__main__ import check, main
from tests.reference.random_folder import write_random_folder

ALBEF_TINY = Path(__file__).parent / "albef-tiny"

# One tensor per file, and a quantity that must notice.
PERTURBATIONS = [
    ("pretrain", "visual_encoder.blocks.1.attn.qkv.weight", "pretrain.image_tokens"),
    ("pretrain", "text_encoder.bert.encoder.layer.9.crossattention.self.value.weight", "rerank.itm_i2t"),
    ("pretrain", "text_encoder_m.bert.encoder.layer.11.output.dense.weight", "pretrain.alpha0.4.loss_mlm"),
    ("pretrain", "image_queue", "retrieval.loss_ita"),
    ("vqa", "text_decoder.bert.encoder.layer.1.crossattention.self.value.weight", "vqa.topk_probs"),
    ("vqa", "text_decoder_m.cls.predictions.bias", "vqa.loss"),
    ("nlvr", "text_encoder.encoder.layer.13.attention.self.value.weight", "nlvr.logits"),
    ("nlvr", "cls_head_m.2.bias", "nlvr.loss"),
    ("ve", "cls_head.0.weight", "ve.logits"),
]


def copied(folder: Path) -> Path:
    shutil.copytree(ALBEF_TINY, folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


def test_every_recorded_quantity_is_reproduced(capsys):
    assert main([str(ALBEF_TINY)]) == 0
    assert "FAILED" not in capsys.readouterr().out


def test_nothing_that_was_recorded_is_left_out():
    reference = check(ALBEF_TINY)
    figures = json.loads((ALBEF_TINY / "retrieval_metrics.json").read_text())
    assert reference.uncovered == []
    compared = {q.name for q in reference.quantities}
    assert {f"retrieval_metrics.{kind}.{name}" for kind in ("itm", "dual") for name in figures[kind]} <= compared


@pytest.mark.parametrize(("file", "tensor", "notices"), PERTURBATIONS)
def test_a_perturbed_weight_is_noticed(tmp_path, capsys, file, tensor, notices):
    folder = copied(tmp_path / "perturbed")
    weights = load_file(folder / f"{file}.safetensors")
    weights[tensor] = weights[tensor].flip(0)
    save_file(weights, folder / f"{file}.safetensors")
    assert main([str(folder)]) == 1
    failed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "FAILED" in line]
    assert notices in failed


def test_a_wrong_figure_is_noticed(tmp_path, capsys):
    folder = copied(tmp_path / "wrong")
    path = folder / "retrieval_metrics.json"
    figures = json.loads(path.read_text())
    figures["dual"]["img_r5"] -= 8.0
    path.write_text(json.dumps(figures))
    assert main([str(folder)]) == 1
    assert "retrieval_metrics.dual.img_r5" in [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if "FAILED" in line
    ]


def test_an_unknown_quantity_is_not_passed_over(tmp_path, capsys):
    folder = copied(tmp_path / "more")
    recorded = load_file(folder / "expected.safetensors")
    save_file(recorded | {"grounding.map": recorded["ve.logits"].clone()}, folder / "expected.safetensors")
    assert main([str(folder)]) == 1
    assert "grounding.map" in capsys.readouterr().out


@pytest.mark.parametrize("broken", ["missing", "not json", "no sizes", "truncated", "no weights", "lacks a tensor"])
def test_a_folder_of_another_form_is_refused_with_one_message(tmp_path, capsys, broken):
    folder = copied(tmp_path / "other")
    if broken == "missing":
        (folder / "expected.safetensors").unlink()
    elif broken == "not json":
        (folder / "bert_config.json").write_text("{")
    elif broken == "no sizes":
        (folder / "config.json").write_text("[]")
    elif broken == "truncated":
        (folder / "vqa.safetensors").write_bytes((folder / "vqa.safetensors").read_bytes()[:5000])
    elif broken == "no weights":
        save_file({}, folder / "nlvr.safetensors")
    else:
        weights = load_file(folder / "ve.safetensors")
        save_file({n: t for n, t in weights.items() if n != "cls_head.0.weight"}, folder / "ve.safetensors")
    assert main([str(folder)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.strip().splitlines()) == 1


@pytest.mark.parametrize("seed", range(3))
def test_sizes_are_read_from_the_folder(tmp_path, seed):
    """Random weights have no recorded outputs, but every quantity must come out in the recorded shape."""
    write_random_folder(tmp_path, seed)
    reference = check(tmp_path)
    assert reference.uncovered == []
    of_another_shape = [q.name for q in reference.quantities if q.error == float("inf")]
    assert of_another_shape == []
