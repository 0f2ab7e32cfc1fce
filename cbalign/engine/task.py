"""What the engine knows of a task: a model, a stream of batches, a loss for one batch, and an evaluation.

The order of calls in one optimiser step, on every rank:

    task.before_step(progress)                      # teacher EMA
    for each micro-batch: task.step(batch, p)       # p.micro_step = 0 … p.micro_steps - 1; autocast is on
    backward of each loss, finite check, clipping, optimiser step
    task.after_step(progress)                       # clamp temperature, renormalise prototypes

Everything that must survive a restart is in `task.model.state_dict()`: student, teacher, queues and pointers. Random
numbers need no saving: torch's generators are seeded anew from (seed, step, rank) before `before_step`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Progress:
    """Where a training is: what losses, ramps and schedules may depend on.

    `step` counts optimiser steps completed before this one: 0 in the first step.
    """

    step: int
    total_steps: int
    steps_per_epoch: int  # optimiser steps in one pass over the training data
    micro_step: int = 0  # which of the micro-batches of this optimiser step
    micro_steps: int = 1  # micro-batches that are accumulated into one optimiser step
    logged: bool = True  # whether this step's metrics are written: costly ones may be left out otherwise

    @property
    def epoch(self) -> float:
        """Epochs completed, with the fraction of the current one."""
        return self.step / self.steps_per_epoch

    def ramp(self, epochs: float) -> float:
        """From 0 to 1 in a straight line over the first `epochs`, and 1 from then on."""
        return 1.0 if epochs == 0 else min(1.0, self.epoch / epochs)

    @property
    def fraction(self) -> float:
        """Share of the training that is completed, in [0, 1]."""
        return self.step / self.total_steps


@dataclass(frozen=True)
class StepOutput:
    """The losses of one micro-batch on this rank; each is a mean over its samples."""

    loss: Tensor  # scalar with gradient: the weighted sum of the terms
    terms: Mapping[str, Tensor]  # scalars by name (`contrastive`), before weighting; logged as `loss/<name>`
    metrics: Mapping[str, Tensor] = field(default_factory=dict)  # further scalars, logged under their own names


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that the optimiser treats alike."""

    parameters: Sequence[nn.Parameter]
    weight_decay: float
    lr_scale: float = 1.0  # factor on the schedule's learning rate


class AnyBatch(Protocol):
    """What the engine asks of a batch."""

    @property
    def indices(self) -> Tensor:
        """Positions (B,) of the samples in their source, for messages."""

    def to(self, device: torch.device) -> Self:
        """The same batch on `device`."""


BatchT = TypeVar("BatchT", bound=AnyBatch)


class Task(Protocol[BatchT]):
    """Something that `fit` can train."""

    @property
    def model(self) -> nn.Module:
        """All that a checkpoint stores, as parameters and buffers. Its submodules are trained by `step`."""

    @property
    def batches_per_epoch(self) -> int:
        """Micro-batches per rank in one epoch of `batches`."""

    def batches(self, start: int) -> Iterator[BatchT]:
        """This rank's endless stream of micro-batches on the CPU, from micro-batch `start` on.

        Micro-batch `n` belongs to epoch `n // batches_per_epoch`, whatever `start` is.
        """

    def parameter_groups(self, weight_decay: float) -> Sequence[ParameterGroup]:
        """The trainable parameters: `weight_decay` for matrices, none for vectors, scalars and prototypes."""

    def before_step(self, progress: Progress) -> None:
        """Once per optimiser step, before its first forward pass: the teacher follows the student."""

    def step(self, batch: BatchT, progress: Progress) -> StepOutput:
        """Forward pass and losses of one micro-batch, on the model's device, under the engine's autocast."""

    def after_step(self, progress: Progress) -> None:
        """Once per optimiser step, after the update: clamp the temperature, renormalise the prototypes."""

    def evaluate(self, progress: Progress) -> Mapping[str, float]:
        """Metrics by name on the splits that the spec asks for; called on every rank, without autocast.

        The engine puts the model into evaluation mode before and training mode after.
        """

    def describe(self) -> Mapping[str, object]:
        """JSON-ready facts for the run's manifest: parameter counts, fingerprints of the data sources."""

    def save_assets(self, folder: Path) -> None:
        """Write the files beside the weights that using the model needs (the tokenizer) into an existing folder."""


def no_decay_for_vectors(
    parameters: Iterable[nn.Parameter], weight_decay: float, lr_scale: float = 1.0
) -> list[ParameterGroup]:
    """The usual two groups: decay for matrices and larger, none for vectors and scalars (biases, norms, temperature).

    A parameter whose attribute `no_weight_decay` is true has none either. Frozen parameters are left out.
    """
    trainable = [p for p in parameters if p.requires_grad]
    decayed = [p for p in trainable if p.ndim >= 2 and not getattr(p, "no_weight_decay", False)]
    chosen = {id(p) for p in decayed}
    plain = [p for p in trainable if id(p) not in chosen]
    groups = ((decayed, weight_decay), (plain, 0.0))
    return [ParameterGroup(group, decay, lr_scale) for group, decay in groups if group]
