"""What subjects take of a GPU's memory, by what the driver's tool says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cbalign.lab.benchmark.memory import _gpu_memory
from cbalign.runtime.machine import ask_gpus


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver's tool that writes down what it was asked and knows one GPU."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncat {tmp_path}/answer\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def test_used_memory_is_that_of_the_gpu_that_is_meant(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tool / "answer").write_text("1500\n")
    assert _gpu_memory("cuda:1") == 1500 * 2**20
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5f")
    assert _gpu_memory("cuda:1") == _gpu_memory("cuda") == 1500 * 2**20
    numbers = [line.rpartition(" ")[2] for line in (tool / "asked").read_text().splitlines()]
    assert numbers == ["1", "GPU-5f", "3"]
    assert _gpu_memory("cpu") is None
    assert len((tool / "asked").read_text().splitlines()) == 3


@pytest.mark.parametrize("answer", ["", "[N/A]\n", "No devices were found\n"])
def test_a_tool_that_does_not_know_leaves_it_open(tool: Path, answer: str) -> None:
    (tool / "answer").write_text(answer)
    assert _gpu_memory("cuda") is None
    assert ask_gpus("name", "driver_version") == []
