"""Fine-tuning from a file of ALBEF's published form, and its quirks on request."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder
from tests.cli.tiny import Result, cbalign
from tests.tasks.tiny_tasks import write_tasks

REFERENCE = Path(__file__).parents[1] / "reference" / "albef-tiny"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("albef"))


def trained(place: Path, spec: str, *overrides: str) -> tuple[RunFolder, Result]:
    result = cbalign(place, "train", spec, *(f"--set={override}" for override in overrides))
    assert result.code == 0, result.stderr
    return RunFolder(place / result.stdout.strip()), result


ENTAILMENT = """\
cbalign: 1
name: from-albef
task: {kind: entailment}
init: {checkpoint: pretrain.safetensors}
model:
  vision: {architecture: vit_base_patch16_224, image_size: 96, patch_size: 16, layers: 2, width: 32, heads: 4,
           init: random}
  text: {architecture: ./bert, layers: 6, max_tokens: 9, init: random}
  fusion: {layers: 6}
  joint_dim: 16
data:
  train: {source: snli-ve, files: [ve.jsonl]}
train: {duration: 1 steps, batch_size: 4, precision: fp32, device: cpu, optimizer: {lr: 1e-12},
        schedule: {warmup: 0 steps, final_lr: 0, warmup_lr: 0}}
"""


def test_a_file_of_albef_is_started_from_with_student_and_teacher(place: Path) -> None:
    words = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *(f"w{i}" for i in range(59))]
    (place / "bert").mkdir()
    (place / "bert" / "vocab.txt").write_text("\n".join(words) + "\n")
    shutil.copy(REFERENCE / "bert_config.json", place / "bert" / "config.json")
    theirs = load_file(REFERENCE / "pretrain.safetensors")
    save_file(theirs, place / "pretrain.safetensors")
    (place / "from-albef.yaml").write_text(ENTAILMENT)
    run, result = trained(place, "from-albef.yaml")
    assert "starting from pretrain.safetensors" in result.stderr
    assert "(1, 17, 32) in the weights, (1, 37, 32) in the model" in result.stderr
    assert "missing: head" in result.stderr
    weights = load_file(run.checkpoints / "step-1" / "model.safetensors")
    prefix = "text_encoder.bert.encoder.layer.7.crossattention.self.key.weight"
    ours = "fusion.layers.1.cross_attention.key.weight"
    assert torch.allclose(weights[f"student.{ours}"], theirs[prefix], atol=1e-6)
    assert torch.allclose(
        weights[f"teacher.network.{ours}"],
        torch.lerp(theirs[prefix.replace("text_encoder", "text_encoder_m")], theirs[prefix], 0.005),
        atol=1e-6,
    )
    (ancestor,) = Manifest.read(run.manifest).facts["lineage"]  # type: ignore[misc]
    assert (ancestor["name"], ancestor["trained_on"]) == ("pretrain.safetensors", None)


def test_nlvr2s_teacher_starts_untrained_on_request(place: Path) -> None:
    pretrained, _ = trained(place, "pretrain.yaml")
    still = (
        "train.duration=1 steps",
        "train.optimizer.lr=1e-12",
        "train.schedule.warmup_lr=0",
        "model.teacher.momentum=0.9",
    )
    name = "text.layers.0.attention.query.weight"
    for quirk in (False, True):
        run, _ = trained(
            place,
            "nlvr2.yaml",
            f"init.run={pretrained.folder}",
            f"legacy.untrained_statement_teacher={quirk}".lower(),
            *still,
        )
        weights = load_file(run.checkpoints / "step-1" / "model.safetensors")
        student, teacher = weights[f"student.{name}"], weights[f"teacher.network.{name}"]
        near = (student - teacher).norm() < 0.2 * student.norm()
        assert bool(near) != quirk


def test_masked_words_are_taught_as_published_on_request(place: Path) -> None:
    quirk = ("legacy.soft_labels_over_positions=true", "model.teacher.ramp_epochs=0", "train.duration=2 steps")
    run, _ = trained(place, "pretrain.yaml", *quirk)
    plain, _ = trained(place, "pretrain.yaml", *quirk[1:])
    found, expected = (load_file(each.checkpoints / "step-2" / "model.safetensors") for each in (run, plain))
    name = "objectives.masked_language.head.student.bias"
    assert not torch.equal(found[name], expected[name])
    assert found["student.image_projection.weight"].isfinite().all()
