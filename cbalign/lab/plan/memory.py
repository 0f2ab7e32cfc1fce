"""Account for the memory of a device during training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from cbalign.lab.plan.step import StepCost
from cbalign.models.momentum import teacher_parameters

MOMENTS = 2  # per trainable parameter, in float32 (AdamW)


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on one device, by use."""

    weights: int
    frozen: int  # weights that are not trained
    teacher: int
    queues: int  # and all other buffers
    optimizer: int
    gradients: int
    buckets: int  # DDP's copy of the gradients for communication
    activations: int  # peak of activations and temporary tensors, beyond the gradients

    @property
    def total(self) -> int:
        """Sum of all uses."""
        return sum(asdict(self).values())


def account(model: nn.Module, step: StepCost, *, processes: int) -> TrainingMemory:
    """Return the memory of a device that trains `model`."""
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
    """Return the size of a checkpoint on disk: weights, teacher, queues and moments."""
    trained = size_of(p for p in model.parameters() if p.requires_grad)
    return size_of(model.state_dict().values()) + MOMENTS * trained


def size_of(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of tensors; a tensor that occurs twice counts once."""
    return sum({id(t): t.numel() * t.element_size() for t in tensors}.values())
