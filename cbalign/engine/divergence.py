"""Detection of losses and gradients that are not finite, and of the samples that cause them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cbalign.engine.sharding import whole_tensor
from cbalign.engine.task import StepOutput
from cbalign.errors import DivergenceError


@dataclass(frozen=True)
class MeasuredNumber:
    """One number of one micro-batch."""

    micro_step: int
    name: str
    value: float

    @property
    def is_bad_loss(self) -> bool:
        """Whether this is a loss, or a term of it, that is not finite."""
        return (self.name == "loss" or self.name.startswith("loss/")) and not math.isfinite(self.value)


@dataclass(frozen=True)
class StepNumbers:
    """All numbers of one step of this process."""

    measured: tuple[MeasuredNumber, ...]
    micro_steps: int
    gradient_norm: float

    @classmethod
    def read(cls, outputs: Sequence[StepOutput], norm: Tensor, device: torch.device) -> StepNumbers:
        """Read them from the device, all at once.

        Args:
            outputs: of each micro-batch.
            norm: of the gradient, a scalar.
            device: where they are.
        """
        named = [(i, name, value) for i, output in enumerate(outputs) for name, value in _scalars(output)]
        stacked = torch.stack([norm.float(), *(v.detach().float().reshape(()).to(device) for _, _, v in named)])
        gradient, *values = stacked.tolist()
        measured = tuple(MeasuredNumber(i, name, value) for (i, name, _), value in zip(named, values))
        return cls(measured, len(outputs), gradient)

    @property
    def is_finite(self) -> bool:
        """Whether losses and gradient are finite; a metric need not be."""
        return math.isfinite(self.gradient_norm) and not any(m.is_bad_loss for m in self.measured)

    def logged(self) -> Iterator[Mapping[str, float]]:
        """Yield what is logged: the numbers of each micro-batch, then the gradient norm."""
        for i in range(self.micro_steps):
            yield {m.name: m.value for m in self.measured if m.micro_step == i}
        yield {"gradient_norm": self.gradient_norm}


def explain_losses(measured: Sequence[MeasuredNumber], indices: Sequence[Tensor]) -> str:
    """Describe the losses of this process that are not finite; empty if all are finite.

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
    """Describe where the gradient is not finite although all losses are."""
    broken = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not bool(whole_tensor(parameter.grad).isfinite().all())
    ]
    # Finite gradients can have an infinite norm.
    where = f"{len(broken)} parameters, first {broken[0]}" if broken else "its norm overflows"
    return f"the losses are finite, but the gradient is not ({where}); {_samples(indices, range(len(indices)))}"


def divergence_error(found: str, *, step: int, total_steps: int, checkpoint: Path | None) -> DivergenceError:
    """Build the error of a training whose loss or gradient is not finite.

    Args:
        found: what is not finite, and the samples that cause it.
        step: number of the step, from 1.
        total_steps: steps of the training.
        checkpoint: the newest checkpoint, if there is one.
    """
    kept = f"The checkpoint {checkpoint} is intact." if checkpoint else "There is no checkpoint yet."
    return DivergenceError(
        f"Training diverged in step {step} of {total_steps}: {found}.\nThe step was not made. {kept}",
        remedy="Start again with a smaller train.optimizer.lr, a longer warm-up, or train.clip_norm=1; "
        "look at those samples if it happens at once.",
    )


def _samples(indices: Sequence[Tensor], micro_steps: Sequence[int]) -> str:
    return f"samples {[int(index) for i in micro_steps for index in indices[i].tolist()]} of the training data"


def _scalars(output: StepOutput) -> Iterator[tuple[str, Tensor]]:
    yield "loss", output.loss
    for name, value in output.terms.items():
        yield f"loss/{name}", value
    yield from output.metrics.items()
