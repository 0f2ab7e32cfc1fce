"""The momentum teacher: an exponential moving average of the student (He et al., MoCo; ALBEF)."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from cbalign.models.tower import Tower

M = TypeVar("M", bound=nn.Module)


class MomentumTeacher(nn.Module, Generic[M]):
    """A copy of the student that follows it: θ̄ ← m θ̄ + (1 - m) θ, and takes no gradient.

    Frozen towers, and frozen parameters of other towers, are not copied but shared with the student.

    Args:
        student: the module to follow; the copy starts equal to it.
        momentum: m, the weight of the old teacher.
    """

    def __init__(self, student: M, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.network: M = copy.deepcopy(student, _shared(student)).requires_grad_(False)

    @torch.no_grad()
    def update(self, student: M) -> None:
        """One step towards the student; before the teacher's forward pass, as ALBEF does."""
        pairs = [
            (own, new)
            for own, new in zip(self.network.parameters(), student.parameters(), strict=True)
            if own is not new
        ]
        if pairs:
            torch._foreach_lerp_([own for own, _ in pairs], [new for _, new in pairs], 1 - self.momentum)


class StudentAsTeacher(MomentumTeacher[M]):
    """The student itself in the place of a teacher: no copy, no parameters of its own, nothing to update.

    Args:
        student: the module that is trained.
    """

    def __init__(self, student: M) -> None:
        nn.Module.__init__(self)
        self.momentum = 0.0
        # Not registered as a submodule: the weights are in the state dict once, below `student`.
        object.__setattr__(self, "network", student)

    def update(self, student: M) -> None:
        """Do nothing: the student is up to date."""


class Distilled(nn.Module, Generic[M]):
    """A student and its momentum teacher: a fine-tuned model, or a head with its own teacher.

    Args:
        student: the module that is trained.
        momentum: m of the teacher; None for a model without one, whose student takes its place.
    """

    def __init__(self, student: M, momentum: float | None) -> None:
        super().__init__()
        self.student: M = student
        self.teacher = StudentAsTeacher(student) if momentum is None else MomentumTeacher(student, momentum)

    def update_teacher(self) -> None:
        """Move the teacher one step towards the student."""
        self.teacher.update(self.student)


def teacher_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of all momentum teachers in a model, without those that they share with a student."""
    teachers = tuple(f"{name}." for name, part in model.named_modules() if isinstance(part, MomentumTeacher))
    every = list(model.named_parameters(remove_duplicate=False))
    others = {id(p) for name, p in every if not name.startswith(teachers)}
    return list({id(p): p for name, p in every if name.startswith(teachers) and id(p) not in others}.values())


def _shared(student: nn.Module) -> dict[int, Any]:
    """What a copy of the student shares with it, by identity, as `copy.deepcopy` expects it."""
    shared: dict[int, Any] = {}
    for tower in student.modules():
        if isinstance(tower, Tower):
            if tower.frozen:
                shared[id(tower)] = tower
            shared |= {id(p): p for p in tower.parameters() if not p.requires_grad}
    return shared
