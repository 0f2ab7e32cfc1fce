"""The momentum teacher: an exponential moving average of the student (He et al., MoCo; ALBEF)."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class MomentumTeacher(nn.Module, Generic[M]):
    """A copy of the student that follows it: θ̄ ← m θ̄ + (1 - m) θ, and takes no gradient.

    Args:
        student: the module to follow; the copy starts equal to it.
        momentum: m, the weight of the old teacher.
    """

    def __init__(self, student: M, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.network: M = copy.deepcopy(student).requires_grad_(False)

    @torch.no_grad()
    def update(self, student: M) -> None:
        """One step towards the student; before the teacher's forward pass, as ALBEF does."""
        torch._foreach_lerp_(list(self.network.parameters()), list(student.parameters()), 1 - self.momentum)


class Distilled(nn.Module, Generic[M]):
    """A student and its momentum teacher: a fine-tuned model, or a head with its own teacher."""

    def __init__(self, student: M, momentum: float) -> None:
        super().__init__()
        self.student: M = student
        self.teacher = MomentumTeacher(student, momentum)

    def update_teacher(self) -> None:
        """Move the teacher one step towards the student."""
        self.teacher.update(self.student)


def teacher_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of all momentum teachers in a model."""
    return [p for part in model.modules() if isinstance(part, MomentumTeacher) for p in part.parameters()]
