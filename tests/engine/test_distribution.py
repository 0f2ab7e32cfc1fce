"""Who is who among the processes, and what they share."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_task
import torch
import two_processes

from cbalign.engine.checkpoint import read_model
from cbalign.engine.device import choose_device
from cbalign.engine.distribution import World
from cbalign.engine.placement import first_host, read_placement
from cbalign.engine.run import open_run
from cbalign.errors import DeviceError, UsageError

SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "70123"}


def test_alone_without_a_launcher():
    assert read_placement({"PATH": "/bin"}) is None
    assert read_placement({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}) is None, "a batch script runs once"


def test_torchrun_says_who_is_who():
    placement = read_placement({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    assert (placement.rank, placement.size, placement.local_rank, placement.meeting) == (5, 8, 1, "env://")


def test_srun_says_who_is_who():
    placement = read_placement({**SRUN, "SLURM_STEP_NODELIST": "gpu[03-04]"})
    assert (placement.rank, placement.size, placement.local_rank) == (3, 4, 1)
    assert placement.meeting == "tcp://gpu03:30123"


@pytest.mark.parametrize(
    "environment", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x", "WORLD_SIZE": "2"}, {**SRUN, "SLURM_PROCID": "-1"}]
)
def test_contradictions_are_refused(environment):
    with pytest.raises(UsageError):
        read_placement(environment)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("gpu[03-07,9],x1", "gpu03"),
        ("a[1,5]-ib,b", "a1-ib"),
        ("rack2-n[08]", "rack2-n08"),
    ],
)
def test_first_host_of_a_node_list(nodes, host):
    assert first_host(nodes) == host


def test_a_single_world_changes_nothing():
    world, tensor = World.single(), torch.ones(3, requires_grad=True)
    assert world.gather(tensor) is tensor
    assert world.collect("a") == ["a"]
    assert world.share("a") == "a"
    assert world.is_main


def in_two_processes(part: str, folder: Path):
    """Run a function of two_processes.py in two processes over gloo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    processes = []
    for rank in range(2):
        placement = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_PORT": port}
        processes.append(
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("two_processes.py")), part, str(folder)],
                env={**os.environ, **placement, "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)


def test_two_processes_gather_rows_and_sum_their_gradients(tmp_path):
    in_two_processes("operations", tmp_path)


def test_two_processes_train_as_one_does_with_the_doubled_batch(tmp_path):
    in_two_processes("training", tmp_path)
    (together,) = (tmp_path / "together").glob("tiny-*")
    alone = tiny_task.new_run(tmp_path / "alone")
    tiny_task.train(alone, two_processes.Plain(batch_size=8), two_processes.settings(batch_size=8))
    run = open_run(together)
    ours, theirs = read_model(run.latest_checkpoint()), read_model(alone.latest_checkpoint())
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6, msg=name)
    losses = [[line["loss"] for line in tiny_task.metrics_of(r) if "loss" in line] for r in (run, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_gpu_that_is_not_there_is_a_device_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match=r"train\.device is cuda") as caught:
        choose_device("cuda", name="train.device")
    assert caught.value.exit_code == 4
    assert "set train.device to cpu" in str(caught.value)
    with pytest.raises(UsageError, match="no device 'gpu'"):
        choose_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto", local_rank=1) == torch.device("cuda", 1)
    assert choose_device("cuda:0", local_rank=1) == torch.device("cuda", 0)
    with pytest.raises(DeviceError, match="GPU 2 was requested, but this machine has 2"):
        choose_device("cuda:2")
