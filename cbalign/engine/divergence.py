"""Which numbers of a step are not finite, and which samples they come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn


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


def explain_divergence(
    measured: Sequence[Measured], gradient_norm: float, indices: Sequence[Tensor], model: nn.Module
) -> str:
    """What is not finite in this process, as a phrase; empty if all is.

    Args:
        measured: all numbers of the step.
        gradient_norm: of the whole step.
        indices: positions in the data of each micro-batch's samples.
        model: with its gradients.
    """
    bad = [m for m in measured if m.is_bad_loss]
    if bad:
        # The total is not finite because a term is: name the terms, if the task names any.
        terms = {m.name: m.value for m in bad if m.name != "loss"} or {m.name: m.value for m in bad}
        what = ", ".join(f"{name} is {value}" for name, value in terms.items())
        culprits = sorted({m.micro_step for m in bad})
    elif not math.isfinite(gradient_norm):
        broken = [
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all())
        ]
        # Finite gradients can have an infinite norm.
        where = f"{len(broken)} parameters, first {broken[0]}" if broken else "its norm overflows"
        what = f"the losses are finite, but the gradient is not ({where})"
        culprits = list(range(len(indices)))
    else:
        return ""
    samples = [int(index) for i in culprits for index in indices[i].tolist()]
    return f"{what}; samples {samples} of the training data"
