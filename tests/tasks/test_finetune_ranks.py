"""Fine-tuning in two processes computes what one with the doubled batch does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cbalign.engine.run import RunFolder
from tests.cli.tiny import cbalign, command
from tests.tasks.tiny_tasks import write_tasks

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("task", "parallel"), [("entailment", "ddp"), ("nlvr2", "ddp"), ("nlvr2", "fsdp2")])
def test_two_processes_are_one_with_the_doubled_batch(task: str, parallel: str, tmp_path: Path) -> None:
    place = write_tasks(tmp_path)
    alone = cbalign(place, "train", f"{task}.yaml", "--set=train.batch_size=4")
    assert alone.code == 0, alone.stderr
    words = ("--set=train.batch_size=2", f"--set=train.parallel={parallel}", "--nproc", "2")
    two = subprocess.run(
        command("train", f"{task}.yaml", *words), cwd=place, capture_output=True, text=True, check=False
    )
    assert two.returncode == 0, two.stderr
    runs = [RunFolder(place / text.strip().splitlines()[-1]) for text in (alone.stdout, two.stdout)]
    one, other = (load_file(run.checkpoints / "step-4" / "model.safetensors") for run in runs)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=1e-5 * max(1.0, float(tensor.abs().max())))
    logged = [[json.loads(line) for line in run.metrics.read_text().splitlines()] for run in runs]
    for mine, theirs in zip(*logged, strict=True):
        for name in {"loss", "loss/classification", "validation/accuracy"} & mine.keys():
            assert theirs[name] == pytest.approx(mine[name], rel=1e-5)
