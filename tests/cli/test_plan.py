"""`cbalign plan` on a small spec: what it prints, and what it says when it cannot."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from PIL import Image

from cbalign.cli import main

SPEC = """\
cbalign: 1
name: small
model:
  vision: {architecture: vit_tiny_patch16_224, image_size: 32, patch_size: 16, layers: 1, width: 32, heads: 2,
           init: random}
  text: {architecture: bert-mini, layers: 1, width: 32, heads: 2, intermediate: 32, init: random,
         tokenizer: captions, vocabulary: 100}
  fusion: {layers: 1}
  joint_dim: 8
  codebook: {size: 6}
  queue: {length: 8}
data:
  train: {source: csv, files: [pairs.csv]}
train: {duration: 3 epochs, batch_size: 2, global_batch_size: 4, precision: fp32, schedule: {warmup: 1 step}}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    rows = "".join(f"a.png,a drawing of number {n}\n" for n in range(9))
    (tmp_path / "pairs.csv").write_text(f"image,caption\n{rows}")
    (tmp_path / "small.yaml").write_text(SPEC)
    return tmp_path


def plan(*words):
    return CliRunner().invoke(main, ["plan", *words])


def test_a_plan_counts_the_data_and_measures_the_captions(place):
    document = json.loads(plan("small.yaml", "--json", "--gpu", "h100-80gb").stdout)
    length = document["length"]
    assert (length["pairs"], length["steps_per_epoch"], length["total_steps"], length["samples"]) == (9, 2, 6, 24)
    assert length["micro_steps"] == 2
    # [CLS] and five words or the digits' pieces
    assert document["captions"]["measured"]
    assert 5 <= document["captions"]["mean"] <= 8
    parts = document["memory_bytes"]
    assert parts["total"] == sum(value for name, value in parts.items() if name != "total")
    assert document["gpus"][0]["name"] == "h100-80gb"
    assert document["gpus"][0]["hours"] > 0
    assert document["command"] == "cbalign train small.yaml"


def test_the_text_has_every_part(place):
    text = plan("small.yaml").stdout
    for part in (
        "parameters",
        "operations",
        "memory",
        "steps",
        "learning rate",
        "disk",
        "a100-40gb",
        "reads",
        "writes",
    ):
        assert part in text
    assert "35% of the fp32 peak (assumed)" in text
    assert "pairs.csv" in text


def test_without_data_the_size_is_asked_for(place):
    (place / "pairs.csv").unlink()
    text = plan("small.yaml").stdout
    assert "give their number as `pairs`" in text
    assert "missing" in text
    document = json.loads(plan("small.yaml", "--json", "--pairs", "40").stdout)
    assert document["length"]["total_steps"] == 30
    assert not document["captions"]["measured"]


def test_several_devices_share_the_global_batch(place):
    document = json.loads(plan("small.yaml", "--json", "--devices", "2").stdout)
    assert document["length"]["micro_steps"] == 1
    assert document["memory_bytes"]["buckets"] == document["memory_bytes"]["gradients"]
    assert document["command"] == "cbalign train small.yaml --nproc 2"


def test_the_largest_batch_is_planned_and_put_into_the_command(place):
    document = json.loads(plan("small.yaml", "--json", "--fit", "l4").stdout)
    assert document["fit"]["batch_size"] == 4
    assert document["length"]["micro_steps"] == 1
    assert document["command"] == "cbalign train small.yaml --set=train.batch_size=4"
    text = plan("small.yaml", "--fit", "l4", "--set", "train.global_batch_size=null").stdout
    assert "the largest batch for l4" in text
    assert "model.queue.length 8" in text
    assert "other results" in text


def test_the_schedule_is_in_the_document(place):
    rates = json.loads(plan("small.yaml", "--json").stdout)["learning_rate"]
    assert rates[0] == [0, 1e-5]
    assert max(rate for _, rate in rates) == 1e-4
    assert rates[-1][0] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gpu", "gtx-9999"), "a100-40gb"),
        (("--fit", "gtx-9999"), "a100-40gb"),
        (("--devices", "3", "--nodes", "2"), "cannot be spread evenly"),
        (("--devices", "3"), "not a multiple of 6"),
        (("--set", "model.vision.heads=3"), "width 32 is not a multiple of heads 3"),
    ],
)
def test_what_does_not_go_together_is_said(options, message, place):
    result = plan("small.yaml", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_too_few_pairs_for_one_step_is_a_data_error(place):
    result = plan("small.yaml", "--pairs", "3")
    assert result.exit_code == 3
    assert "do not fill one batch" in result.stderr


def test_the_command_imports_no_torch_until_it_runs():
    code = "import sys, cbalign.cli.plan, cbalign.cli.import_; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
