"""Two processes over gloo compute what one with the doubled batch does, however they share the model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

PROGRAM = Path(__file__).with_name("two_ranks.py")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with what two_ranks.py made of one experiment in all ways."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def weights(folder, step=5):
    (path,) = folder.glob(f"tiny-*/checkpoints/step-{step}/model.safetensors")
    return load_file(path)


def lines(folder, kind):
    (path,) = folder.glob("tiny-*/metrics.jsonl")
    read = [json.loads(line) for line in path.read_text().splitlines()]
    chosen = [line for line in read if line.pop("kind") == kind]
    return [{n: v for n, v in line.items() if n != "samples_per_second"} for line in chosen]


def close(ours, theirs, name):
    """Within 3e-5 of the largest value of the tensor, or 3e-7: float32 sums over two halves differ by as much."""
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-5 * max(float(theirs.abs().max()), 1e-2), msg=name)


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_losses_are_those_of_one_process_with_the_doubled_batch(trained, way):
    ours, theirs = lines(trained / way, "train"), lines(trained / "alone", "train")
    assert len(ours) == 5
    assert {"loss/contrastive", "loss/codebook", "loss/matching", "loss/masked_language"} <= ours[0].keys()
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=1e-5)  # codebook health and temperature too


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_gradients_are_those_of_one_process_with_the_doubled_batch(trained, way):
    ours, theirs = (torch.load(trained / name / "gradients.pt") for name in (way, "alone"))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for name, gradient in other.items():
            close(mine[name], gradient, name)


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_weights_teacher_queues_and_codebook_are_those_of_one_process(trained, way):
    ours, theirs = weights(trained / way), weights(trained / "alone")
    assert ours.keys() == theirs.keys()
    assert float(theirs["image_queue.features"].abs().sum(dim=1).min()) > 0, "the queue went round"
    for name, value in theirs.items():
        close(ours[name], value, name)


def test_an_evaluation_is_shared_without_dropping_or_doubling(trained):
    """22 images in batches of 4, one of them unreadable: 6 batches, the last of 2."""
    found = [json.loads((trained / f"ddp/evaluation-{rank}.json").read_text()) for rank in range(2)]
    dual, rerank, code = found[0]["together"]
    assert (dual["images"], rerank["images"], code["images"], dual["skipped_images"]) == (21, 21, 21, 1)
    assert found[0]["together"] == found[0]["alone"] == found[1]["together"]


def test_sharded_weights_evaluate_as_the_checkpoint_does(trained):
    (recorded,) = lines(trained / "fsdp2", "evaluation")
    dual = json.loads((trained / "fsdp2/evaluation-0.json").read_text())["alone"][0]
    metrics = dual["image_to_text"]["metrics"]
    for name, value in metrics.items():
        assert recorded[f"validation/dual/image_to_text/{name}"] == pytest.approx(value)


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_resume_after_a_killed_process_gives_identical_weights(trained, way):
    kind, message = json.loads((trained / "error-0.json").read_text())
    assert kind == "ProcessLostError"
    assert "Resume from the newest checkpoint with: cbalign train" in message
    ours, theirs = weights(trained / f"{way}-killed"), weights(trained / way)
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert lines(trained / f"{way}-killed", "train") == lines(trained / way, "train")


def test_one_process_goes_on_with_what_sharded_ones_left(trained):
    resumed = lines(trained / "fsdp2-alone", "train")
    assert resumed[:4] == lines(trained / "fsdp2", "train")[:4]
    assert len(resumed) == 5
    prototypes = "objectives.codebook.codebook.prototypes"
    before, after = weights(trained / "fsdp2-alone", 4), weights(trained / "fsdp2-alone", 5)
    assert not torch.equal(before[prototypes], after[prototypes])
