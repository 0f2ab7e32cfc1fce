"""What lies in a device's memory while a model trains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from cbalign.lab.plan.step import StepCost
from cbalign.models.momentum import teacher_parameters

MOMENTS = 2  # of AdamW, in float32, for each trainable parameter


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on one device, by part."""

    weights: int
    frozen: int  # weights that are not trained
    teacher: int
    queues: int  # with every other buffer
    optimizer: int
    gradients: int
    buckets: int  # a second copy of the gradients, which DDP sends
    activations: int  # the most that activations and temporaries take beyond the gradients

    @property
    def total(self) -> int:
        """All parts."""
        return sum(asdict(self).values())


def account(model: nn.Module, step: StepCost, *, processes: int) -> TrainingMemory:
    """The memory of a device that trains `model`."""
    trained = size_of(p for p in model.parameters() if p.requires_grad)
    teacher = size_of(teacher_parameters(model))
    frozen = size_of(p for p in model.parameters() if not p.requires_grad) - teacher
    everything = size_of(model.parameters()) + size_of(model.buffers())
    return TrainingMemory(
        weights=trained,
        frozen=frozen,
        teacher=teacher,
        queues=everything - trained - frozen - teacher,
        optimizer=MOMENTS * trained,
        gradients=trained,
        buckets=trained if processes > 1 else 0,
        activations=max(0, step.working_bytes - trained),
    )


def checkpoint_bytes(model: nn.Module) -> int:
    """A checkpoint on disk: weights, teacher, queues, moments."""
    trained = size_of(p for p in model.parameters() if p.requires_grad)
    return size_of(model.state_dict().values()) + MOMENTS * trained


def size_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors, each memory once."""
    return sum({id(t): t.numel() * t.element_size() for t in tensors}.values())
