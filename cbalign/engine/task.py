"""The engine's interfaces: `Learner` (a model and its step) and `Training` (a learner with data and evaluation).

The order of calls in one optimiser step, on every rank:

    learner.before_step(progress)                   # teacher EMA
    for each micro-batch: learner.step(batch, p)    # p.micro_step = 0 … p.micro_steps - 1; autocast is on
    backward of each loss, finite check, clipping, optimiser step
    learner.after_step(progress)                    # clamp temperature, renormalise prototypes

Everything that must survive a restart is in `learner.model.state_dict()`: student, teacher, queues and pointers. The
state of random generators is not saved: torch's are seeded from (seed, step, rank) before `before_step`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from cbalign.parts.results import kind_of, wrong_result


@dataclass(frozen=True)
class Progress:
    """The position in a training that losses, ramps and schedules may depend on.

    `step` counts optimiser steps completed before this one: 0 in the first step.
    """

    step: int
    total_steps: int
    steps_per_epoch: int  # optimiser steps in one pass over the training data
    micro_step: int = 0  # which of the micro-batches of this optimiser step
    micro_steps: int = 1  # micro-batches that are accumulated into one optimiser step
    logged: bool = True  # whether this step's metrics are written; expensive ones may be skipped otherwise

    @property
    def epoch(self) -> float:
        """Completed epochs, including the fraction of the current one."""
        return self.step / self.steps_per_epoch

    def ramp(self, epochs: float) -> float:
        """Rise linearly from 0 to 1 over the first `epochs`, then stay at 1."""
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


def require_scalar(owner: object, call: str, name: str, value: object) -> None:
    """Require a tensor without dimensions, as a loss or metric that a part returned.

    Raises:
        PartError: it is none; the message names the distribution of `owner`.
    """
    if not isinstance(value, Tensor):
        raise wrong_result(owner, call, f"returned {kind_of(value)} as {name}, not a scalar tensor")
    if value.ndim:
        raise wrong_result(owner, call, f"returned a tensor of shape {tuple(value.shape)} as {name}, not a scalar")


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with the same optimiser settings."""

    parameters: Sequence[nn.Parameter]
    weight_decay: float
    lr_scale: float = 1.0  # factor on the schedule's learning rate


class AnyBatch(Protocol):
    """The interface of a batch that the engine uses."""

    @property
    def indices(self) -> Tensor:
        """Return the positions (B,) of the samples in their source, for messages."""

    def to(self, device: torch.device) -> Self:
        """Return the same batch on `device`."""


BatchT = TypeVar("BatchT", bound=AnyBatch)
BatchT_contra = TypeVar("BatchT_contra", bound=AnyBatch, contravariant=True)


class Learner(Protocol[BatchT_contra]):
    """A model and how one step trains it."""

    @property
    def model(self) -> nn.Module:
        """The module whose parameters and buffers a checkpoint stores. `step` trains its submodules."""

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Return the trainable parameters with their weight decay and learning-rate factors."""

    def before_step(self, progress: Progress) -> None:
        """Run once per optimiser step, before its first forward pass: the teacher follows the student."""

    def step(self, batch: BatchT_contra, progress: Progress) -> StepOutput:
        """Compute the losses of one micro-batch, on the model's device, under the engine's autocast."""

    def after_step(self, progress: Progress) -> None:
        """Run once per optimiser step, after the update: clamp the temperature, renormalise the prototypes."""


class Training(Protocol[BatchT]):
    """Everything that `fit` needs: a learner, its batches and its evaluation."""

    @property
    def learner(self) -> Learner[BatchT]:
        """The learner that is trained."""

    @property
    def batches_per_epoch(self) -> int:
        """Micro-batches per rank in one epoch of `batches`."""

    def prepare(self, note: Callable[[str], None]) -> None:
        """Run once before the first batch and the first evaluation, with the weights in place; called on every rank.

        Args:
            note: shows messages.
        """

    def batches(self, start: int) -> Iterator[BatchT]:
        """Yield this rank's endless stream of micro-batches on the CPU, from micro-batch `start` on.

        Micro-batch `n` belongs to epoch `n // batches_per_epoch`, whatever `start` is.
        """

    def evaluate(self, progress: Progress) -> Mapping[str, float]:
        """Compute metrics by name on the splits that the spec lists; called on every rank, without autocast.

        The engine puts the model into evaluation mode before and into training mode after.
        """

    def describe(self) -> Mapping[str, object]:
        """Return JSON-ready metadata for the run's manifest: parameter counts, fingerprints of the data."""

    def save_assets(self, folder: Path) -> None:
        """Write the files that using the model needs besides its weights (the tokenizer) into an existing folder."""


def no_decay_for_vectors(
    parameters: Iterable[nn.Parameter], weight_decay: float, lr_scale: float = 1.0
) -> list[ParameterGroup]:
    """Split parameters into two groups: decay for matrices and larger, none for vectors and scalars.

    The attribute `no_weight_decay` of a parameter, where it has one, decides instead. Frozen parameters are left out.
    """
    trainable = [p for p in parameters if p.requires_grad]
    decayed = [p for p in trainable if not getattr(p, "no_weight_decay", p.ndim < 2)]
    chosen = {id(p) for p in decayed}
    plain = [p for p in trainable if id(p) not in chosen]
    groups = ((decayed, weight_decay), (plain, 0.0))
    return [ParameterGroup(group, decay, lr_scale) for group, decay in groups if group]
