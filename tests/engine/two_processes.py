"""What each of two processes does in test_distribution.py: `python two_processes.py PART FOLDER`."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from pathlib import Path

import pytest
import tiny_task
import torch

from cbalign.engine.distribution import World, open_world
from cbalign.engine.loop import fit
from cbalign.engine.reporter import Silent
from cbalign.engine.task import StepOutput
from cbalign.errors import DivergenceError, Interrupted


def operations(world: World, folder: Path) -> None:
    rows = torch.arange(6.0).view(2, 3) + 10 * world.rank
    rows.requires_grad_()
    gathered = world.gather(rows)
    assert gathered.tolist() == [[0, 1, 2], [3, 4, 5], [10, 11, 12], [13, 14, 15]]
    # Rank r's loss weighs all rows by r + 1: every row's gradient is 1 + 2, whoever owns it.
    (gathered.sum() * (world.rank + 1)).backward()
    assert rows.grad is not None
    assert rows.grad.tolist() == [[3.0] * 3] * 2
    assert world.gather(torch.tensor([world.rank])).tolist() == [0, 1]
    assert float(world.mean(torch.tensor(float(world.rank)))) == 0.5
    assert world.any(world.is_main)
    assert not world.any(False)
    assert world.share(f"from {world.rank}") == "from 0"
    assert world.collect(world.rank) == [0, 1]
    world.barrier()


def settings(**changes):
    return tiny_task.settings(log_every="1 step", checkpoint_every="8 steps", **changes)


class Plain(tiny_task.TinyTask):
    """Without randomness or queue, so that only the batch counts; it leaves one parameter unused."""

    def __init__(self, batch_size: int, world: World | None = None) -> None:
        super().__init__(batch_size)
        self.model.dropout.p = 0.0
        self.model.unused = torch.nn.Parameter(torch.ones(3))
        self.world = world or World.single()

    @property
    def batches_per_epoch(self):
        return tiny_task.SAMPLES // (self.batch_size * self.world.size)

    def batches(self, start):
        whole = tiny_task.TinyTask(self.batch_size * self.world.size)
        mine = slice(self.world.rank * self.batch_size, (self.world.rank + 1) * self.batch_size)
        for batch in whole.batches(start):
            yield tiny_task.TinyBatch(*(getattr(batch, f.name)[mine] for f in dataclasses.fields(batch)))

    def step(self, batch, progress):
        self.hook("step")
        loss = (self.model(batch.inputs) - batch.targets).square().mean()
        return StepOutput(loss, {"fit": loss})


def training(world: World, folder: Path) -> None:
    run = world.share(tiny_task.new_run(folder / "together") if world.is_main else None)
    assert run is not None

    def attempt(task: Plain) -> None:
        fit(task, settings(batch_size=4), run, world, Silent())

    # A signal that only one process gets stops both after the same step, with one checkpoint.
    task, calls = Plain(4, world), []  # two micro-batches per step, an evaluation every four steps

    def stop(event: str) -> None:
        calls.append(event)
        if world.rank == 1 and len(calls) == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    task.hook = stop
    with pytest.raises(Interrupted):
        attempt(task)
    assert run.latest_checkpoint().name == "step-9"
    world.barrier()
    attempt(Plain(4, world))

    # A loss that is not finite in one process stops both, and both name the samples.
    class Diverging(Plain):
        def step(self, batch, progress):
            output = super().step(batch, progress)
            return dataclasses.replace(output, loss=output.loss * float("nan")) if self.world.rank else output

    other = world.share(tiny_task.new_run(folder / "diverged") if world.is_main else None)
    with pytest.raises(DivergenceError, match=r"loss is nan; samples \["):
        fit(Diverging(4, world), settings(batch_size=4), other, world, Silent())


if __name__ == "__main__":
    parts = {"operations": operations, "training": training}
    with open_world("cpu") as joined:
        parts[sys.argv[1]](joined, Path(sys.argv[2]))
