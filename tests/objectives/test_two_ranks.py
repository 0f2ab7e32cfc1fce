"""Objectives that gather features give in two processes what they give in one with the whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.objectives.two_ranks import CASES, LOCAL

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [sys.executable, "-m", "tests.objectives.two_ranks", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_compute_what_one_does(computed, case):
    alone, *together = (torch.load(computed / f"{case}-{name}.pt") for name in ("1-0", "2-0", "2-1"))
    assert alone["gradients"]
    for found in together:
        for kind in ("gradients", "state"):
            assert found[kind].keys() == alone[kind].keys()
            for name, value in alone[kind].items():
                largest = float(value.abs().max()) if value.numel() else 0.0
                close = 2e-3 * max(largest, 1e-2)  # float32 sums over two halves, three steps later
                torch.testing.assert_close(found[kind][name], value, rtol=0, atol=close, msg=f"{kind} {name}")


@pytest.mark.parametrize("case", [*CASES, *LOCAL])
def test_processes_keep_the_same_state(computed, case):
    first, second = (torch.load(computed / f"{case}-2-{rank}.pt")["state"] for rank in range(2))
    assert all(torch.equal(first[name], value) for name, value in second.items())
