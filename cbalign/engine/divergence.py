"""Which numbers of a step are not finite, and which samples they come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from cbalign.engine.sharding import whole_tensor


@dataclass(frozen=True)
class Measured:
    """One number of one micro-batch."""

    micro_step: int
    name: str
    value: float

    @property
    def is_bad_loss(self) -> bool:
        """Whether this is a loss, or a term of it, that is not finite."""
        return (self.name == "loss" or self.name.startswith("loss/")) and not math.isfinite(self.value)


def explain_losses(measured: Sequence[Measured], indices: Sequence[Tensor]) -> str:
    """Which losses of this process are not finite, as a phrase; empty if all are.

    Args:
        measured: all numbers of the step.
        indices: positions in the data of each micro-batch's samples.
    """
    bad = [m for m in measured if m.is_bad_loss]
    # The total is not finite because a term is: name the terms, if the task names any.
    terms = {m.name: m.value for m in bad if m.name != "loss"} or {m.name: m.value for m in bad}
    what = ", ".join(f"{name} is {value}" for name, value in terms.items())
    return f"{what}; {_samples(indices, sorted({m.micro_step for m in bad}))}" if bad else ""


def explain_gradient(model: nn.Module, indices: Sequence[Tensor]) -> str:
    """Where the gradient is not finite although all losses are, as a phrase."""
    broken = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not bool(whole_tensor(parameter.grad).isfinite().all())
    ]
    # Finite gradients can have an infinite norm.
    where = f"{len(broken)} parameters, first {broken[0]}" if broken else "its norm overflows"
    return f"the losses are finite, but the gradient is not ({where}); {_samples(indices, range(len(indices)))}"


def _samples(indices: Sequence[Tensor], micro_steps: Sequence[int]) -> str:
    return f"samples {[int(index) for i in micro_steps for index in indices[i].tolist()]} of the training data"
