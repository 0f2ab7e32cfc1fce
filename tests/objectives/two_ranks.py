"""One step of several objectives in two processes and in one: `python -m tests.objectives.two_ranks FOLDER`.

FOLDER then holds, for each case and number of processes, the averaged gradients and the state after the step.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping

import torch
import torch.distributed as dist

from cbalign.data.batch import Batch
from cbalign.engine.distribution import World
from cbalign.engine.task import Progress
from cbalign.experiment.experiment import Experiment
from tests.objectives.alignment import BATCH, batch, experiment, learner, without
from tests.tasks.two_ranks import fork

ALL = ("contrastive", "codebook", "matching", "masked_language")
NO_TEACHER = {"queue": {"length": 0}}
STEPS = 3
CASES: Mapping[str, Experiment] = {
    "clip": experiment(NO_TEACHER, clip={"positives": "image"}, **without(*ALL)),
    "siglip": experiment(NO_TEACHER, siglip={"bias": -2.0}, **without(*ALL)),
    "usage": experiment(
        {"codebook": {"size": 5, "transport": {"solver": "ipot", "marginals": {"codes": "usage", "mass": 0.8}}}},
        **without(*ALL[2:]),
    ),
    "centring and swapped views": experiment(
        {"codebook": {"size": 5, "transport": {"solver": "centring"}}}, swapped={}, **without(*ALL[2:])
    ),
    "averages and revival": experiment(
        {"codebook": {"size": 40, "update": "average", "revive_after": 1}}, **without(*ALL[2:])
    ),
    "vq": experiment(NO_TEACHER, vq={}, **without(*ALL)),
    "fsq": experiment(NO_TEACHER, fsq={}, **without(*ALL)),
}
LOCAL = {
    "each its own batch": experiment(
        {"codebook": {"size": 5, "transport": {"solver": "centring"}, "assign_over": "batch", "revive_after": 1}},
        swapped={},
        **without(*ALL[2:]),
    )
}


def part(whole: Batch, world: World) -> Batch:
    """The rows of a batch that belong to a process."""
    size = len(whole) // world.size
    rows = slice(world.rank * size, (world.rank + 1) * size)
    names = [field.name for field in dataclasses.fields(whole)]
    values = {name: getattr(whole, name) for name in names}
    return Batch(**{name: value[rows] if torch.is_tensor(value) else value for name, value in values.items()})


def pairs(step: int) -> Batch:
    """Two views of images that have two captions each."""
    return dataclasses.replace(
        batch(step), teacher_images=batch(step + 100).images, image_ids=(torch.arange(BATCH) // 2 + step) % 5
    )


def work(world: World) -> None:
    for name, spec in {**CASES, **LOCAL}.items():
        learns = learner(spec, world=world)
        learns.model.eval()  # no dropout, whatever the case
        optimizer = torch.optim.SGD(learns.model.parameters(), lr=0.01)
        gradients = {}
        for step in range(STEPS):
            progress = Progress(step=step, total_steps=20, steps_per_epoch=4)
            optimizer.zero_grad()
            learns.before_step(progress)
            learns.step(part(pairs(step), world), progress).loss.backward()
            for parameter, p in learns.model.named_parameters():
                if p.grad is not None:
                    if world.size > 1:
                        dist.all_reduce(p.grad)
                        p.grad /= world.size
                    gradients[f"{step} {parameter}"] = p.grad.clone()
            optimizer.step()
            learns.after_step(progress)
        found = {"gradients": gradients, "state": learns.model.state_dict()}
        torch.save(found, f"{name}-{world.size}-{world.rank}.pt")


if __name__ == "__main__":
    import torch._dynamo  # the optimiser imports it in its first step: better once, before the forks

    os.chdir(sys.argv[1])
    fork(work)
    fork(work, size=1)
