"""Measure one training step on tensors without values: operations and memory."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from math import lcm

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from cbalign.engine.distribution import World
from cbalign.engine.precision import Precision, choose_precision
from cbalign.engine.task import Progress
from cbalign.experiment.experiment import Experiment
from cbalign.lab.plan.captions import CaptionLengths
from cbalign.lab.plan.counting import ExpectedSizes, FusedAttention, MemoryWatch, OperationsByOwner
from cbalign.lab.plan.training import planned
from cbalign.models.bert import FusionEncoder
from cbalign.models.tower import TextTower, VisionTower
from cbalign.tasks.feature_cache import FrozenTowers, with_features

LATE = 10**6  # a step when α has its final value
LONGEST_PERIOD = 1000  # steps; longer patterns of `every` are cut


@dataclass(frozen=True)
class StepCost:
    """One pass of one micro-batch, forward and backward, on one device.

    Operations count a multiplication and an addition as two; they are the mean over steps if objectives are computed in
    some steps only (`every`). `working_bytes` is the most that activations, gradients and temporaries take together in
    any step.
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
        """Sum of all parts."""
        return self.image_tower + self.text_tower + self.fusion + self.teacher + self.other + self.backward


@dataclass(frozen=True)
class _World(World):
    """Process 0 of several simulated processes, which all have the same tensors."""

    def gather(self, tensor: Tensor) -> Tensor:
        return torch.cat([tensor] * self.size) if self.size > 1 else tensor

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor.detach() * self.size


def measure_step(
    experiment: Experiment, model: nn.Module, captions: CaptionLengths, *, processes: int, accumulates: bool
) -> StepCost:
    """Run training steps of the experiment on fake tensors and count operations and memory.

    Args:
        experiment: a complete spec.
        model: on the meta device.
        captions: how long captions are.
        processes: how many train together.
        accumulates: whether gradients of earlier micro-batches exist.
    """
    kinds = kinds_of_steps(experiment)
    costs = [_measured(experiment, model, captions, processes, accumulates, number) for number in kinds]
    shares = list(kinds.values())
    parts = ("image_tower", "text_tower", "fusion", "teacher", "other", "backward")
    means = {part: round(sum(getattr(c, part) * share for c, share in zip(costs, shares))) for part in parts}
    return StepCost(**means, working_bytes=max(cost.working_bytes for cost in costs))


def kinds_of_steps(experiment: Experiment) -> dict[int, float]:
    """Return a step of each kind, by which objectives it computes, with its share of all steps.

    Steps are late ones, in which the teacher's words count.
    """
    intervals = {name: each.every for name, each in experiment.objectives.active().items()}
    period = min(lcm(*intervals.values()), LONGEST_PERIOD)
    kinds: dict[frozenset[str], list[int]] = {}
    for number in range(LATE - LATE % period, LATE - LATE % period + period):
        kinds.setdefault(frozenset(n for n, every in intervals.items() if number % every == 0), []).append(number)
    return {steps[0]: len(steps) / period for steps in kinds.values()}


def _measured(
    experiment: Experiment, model: nn.Module, captions: CaptionLengths, processes: int, accumulates: bool, number: int
) -> StepCost:
    """Run step `number`."""
    # The model's own code has to run, with the CPU's rules of autocast, on tensors that say they lie on a CPU.
    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        leave_meta(model)
        model.train()
        world = _World(rank=0, size=processes, device=torch.device("cpu"))
        frozen = FrozenTowers.of(model, experiment)
        made = planned(experiment, model, captions.longest, world)
        batch = made.batch
        if experiment.train.feature_cache != "off":
            batch = with_features(batch, frozen)
        fill = captions.mean / captions.longest
        share = max((each.masked_share for each in experiment.objectives.active().values()), default=0.0)
        chosen = share * max(0.0, captions.mean - 1) / captions.longest
        stack.enter_context(ExpectedSizes(tokens=fill, masked=chosen))
        watch = stack.enter_context(MemoryWatch(model.state_dict().values()))
        if accumulates:
            for parameter in model.parameters():
                parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
        if experiment.train.device != "cpu":
            stack.enter_context(FusedAttention())
        counter = stack.enter_context(FlopCounterMode(display=False))
        progress = Progress(step=number, total_steps=2 * LATE, steps_per_epoch=1, logged=False)
        made.learner.before_step(progress)
        with OperationsByOwner(model, counter) as counted, _autocast(experiment):
            output = made.learner.step(batch, progress)
        forward = counter.get_total_flops()
        torch.autograd.backward(output.loss)
        total = counter.get_total_flops()
    vision, text, fusion = (counted.of(cls.part_name) for cls in (VisionTower, TextTower, FusionEncoder))
    return StepCost(
        image_tower=vision,
        text_tower=text,
        fusion=fusion,
        teacher=counted.teacher,
        other=forward - vision - text - fusion - counted.teacher,
        backward=total - forward,
        working_bytes=watch.peak,
    )


def leave_meta(model: nn.Module) -> None:
    """Move a model from the meta device to the CPU of fake tensors; what modules share stays shared."""
    moved: dict[int, Tensor] = {}
    for module in model.modules():
        own = [
            *module.named_parameters(recurse=False, remove_duplicate=False),
            *module.named_buffers(recurse=False, remove_duplicate=False),
        ]
        for name, tensor in own:
            if id(tensor) not in moved:
                empty = torch.empty_like(tensor, device="cpu", requires_grad=False)
                is_parameter = isinstance(tensor, nn.Parameter)
                moved[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
            setattr(module, name, moved[id(tensor)])


def planned_precision(experiment: Experiment) -> Precision:
    """The precision of the training; `auto` is bf16 on the planned GPUs, and depends on this machine for a CPU."""
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
