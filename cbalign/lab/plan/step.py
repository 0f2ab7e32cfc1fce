"""One training step on tensors without values: what it computes and how much memory it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from cbalign.engine.distribution import World
from cbalign.engine.precision import Precision, choose_precision
from cbalign.engine.task import Progress, StepOutput
from cbalign.experiment.experiment import Experiment
from cbalign.lab.plan.captions import CaptionLengths
from cbalign.lab.plan.counting import ExpectedSizes, FusedAttention, MemoryWatch
from cbalign.lab.plan.training import Planned, planned


@dataclass(frozen=True)
class StepCost:
    """One pass of one micro-batch, forward and backward, on one device.

    Operations count a multiplication and an addition as two; `working_bytes` is the most that activations, gradients
    and temporaries take together.
    """

    image_tower: int
    text_tower: int
    fusion: int
    teacher: int
    other: int  # projections, similarities, codebook and transport, heads, answer decoder
    backward: int
    working_bytes: int

    @property
    def operations(self) -> int:
        """All of them."""
        return self.image_tower + self.text_tower + self.fusion + self.teacher + self.other + self.backward


@dataclass(frozen=True)
class _World(World):
    """Process 0 of several that are not there: they have what it has."""

    def gather(self, tensor: Tensor) -> Tensor:
        return torch.cat([tensor] * self.size) if self.size > 1 else tensor

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor.detach() * self.size


class _Step(nn.Module):
    """A step as a module around the model, so that the counter knows parts by their names in it."""

    def __init__(self, model: nn.Module, made: Planned) -> None:
        super().__init__()
        self.model = model
        self._made = made

    def forward(self, progress: Progress) -> StepOutput:
        return self._made.learner.step(self._made.batch, progress)


def measure_step(
    experiment: Experiment, model: nn.Module, captions: CaptionLengths, *, processes: int, accumulates: bool
) -> StepCost:
    """Run one training step of an experiment and account for it.

    Args:
        experiment: a complete spec.
        model: on the meta device.
        captions: how long captions are.
        processes: how many train together.
        accumulates: whether gradients of earlier micro-batches are already there.
    """
    # The model's own code has to run, with the CPU's rules of autocast, on tensors that say they lie on a CPU.
    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        model = model.to_empty(device="cpu").train()
        world = _World(rank=0, size=processes, device=torch.device("cpu"))
        made = planned(experiment, model, captions.longest, world)
        fill = captions.mean / captions.longest
        chosen = experiment.objectives.masked_language.probability * max(0.0, captions.mean - 1) / captions.longest
        stack.enter_context(ExpectedSizes(tokens=fill, masked=chosen))
        watch = stack.enter_context(MemoryWatch(model.state_dict().values()))
        if accumulates:
            for parameter in model.parameters():
                parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
        if experiment.train.device != "cpu":
            stack.enter_context(FusedAttention())
        counter = stack.enter_context(FlopCounterMode(display=False))
        # A later step, when the teacher's words count; its metrics are not logged.
        progress = Progress(step=10**6, total_steps=10**6 + 1, steps_per_epoch=1, logged=False)
        made.learner.before_step(progress)
        with _autocast(experiment):
            output = _Step(model, made)(progress)
        forward = counter.get_total_flops()
        parts = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
        torch.autograd.backward(output.loss)
        total = counter.get_total_flops()
    root = "_Step.model"
    student = {name: _below(parts, f"{root}.student.{name}") for name in _NETWORKS}
    teacher = sum(_below(parts, f"{root}.teacher.network.{name}") for name in _NETWORKS)
    towers = student["vision"] + student["text"] + student["fusion"]
    return StepCost(
        image_tower=student["vision"],
        text_tower=student["text"],
        fusion=student["fusion"],
        teacher=teacher,
        other=forward - towers - teacher,
        backward=total - forward,
        working_bytes=watch.peak,
    )


_NETWORKS = (
    *("vision", "text", "fusion", "image_projection", "text_projection", "masked_language_head"),
    *("head", "decoder"),
)


def _below(parts: Mapping[str, int], module: str) -> int:
    """What a module computes, with the keys and values of images, which are read outside of its forward pass."""
    keys_and_values = re.compile(re.escape(module) + r"\.(layers|first)\.\d+\.cross_attention\.(key|value)")
    return parts.get(module, 0) + sum(value for name, value in parts.items() if keys_and_values.fullmatch(name))


def planned_precision(experiment: Experiment) -> Precision:
    """What the training will compute in: `auto` means bf16 on the GPUs it is planned for, and what this CPU has."""
    train = experiment.train
    if train.device == "cpu":
        return choose_precision(train.precision, torch.device("cpu"))
    return "fp32" if train.precision == "fp32" else "bf16"


def _autocast(experiment: Experiment) -> AbstractContextManager[object]:
    if planned_precision(experiment) == "fp32":
        return nullcontext()
    # For a GPU float16 stands in for bfloat16: as many bytes, and attention stays fused, which it is not for
    # bfloat16 on a CPU (`models.attention.prefers_plain`).
    return torch.autocast("cpu", dtype=torch.bfloat16 if experiment.train.device == "cpu" else torch.float16)
