"""One optimiser step: the gradients of its micro-batches, checked, clipped and applied."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic

import torch
from torch.optim import Optimizer

from cbalign.engine.checkpoint_folder import latest_checkpoint
from cbalign.engine.distribution import World
from cbalign.engine.divergence import StepNumbers, divergence_error, explain_gradient, explain_losses
from cbalign.engine.optimizer import set_learning_rate, trained_parameters
from cbalign.engine.parallel import StepModule
from cbalign.engine.precision import Precision, autocast
from cbalign.engine.sharding import clip, total_norm
from cbalign.engine.task import BatchT, Learner, Progress, StepOutput


@dataclass(frozen=True)
class OptimizerStep(Generic[BatchT]):
    """What all optimiser steps of a training have in common.

    Args:
        learner: the learner, whose `step` is called by `forward`.
        forward: averages gradients over the processes.
        optimizer: updates the parameters.
        world: the processes that train together.
        precision: in which losses are computed.
        seed: of the training.
        clip_norm: the largest norm of a gradient; None: not clipped.
        checkpoints: the folder of checkpoints, for the message of a divergence.
    """

    learner: Learner[BatchT]
    forward: StepModule[BatchT]
    optimizer: Optimizer
    world: World
    precision: Precision
    seed: int
    clip_norm: float | None
    checkpoints: Path

    def run(self, batch: Sequence[BatchT], progress: Progress, rate: float) -> StepNumbers:
        """Make a step at a learning rate from the micro-batches of this process; return its numbers.

        Raises:
            DivergenceError: the loss or the gradient of some process is not finite; the step was not made.
        """
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        seed_step(self.seed, progress.step, self.world.rank)
        self.learner.before_step(progress)
        outputs = [self._backward(micro_batch, replace(progress, micro_step=i)) for i, micro_batch in enumerate(batch)]
        self.forward.complete_gradients()
        parameters = [p for p in trained_parameters(self.optimizer) if p.grad is not None]
        norm = total_norm(parameters)
        numbers = StepNumbers.read(outputs, norm, self.world.device)
        self._require_finite(numbers, batch, progress)
        if self.clip_norm is not None:
            clip(parameters, self.clip_norm, norm)
        self.optimizer.step()
        self.learner.after_step(progress)
        return numbers

    def _backward(self, batch: BatchT, progress: Progress) -> StepOutput:
        last = progress.micro_step == progress.micro_steps - 1
        with nullcontext() if last else self.forward.without_synchronisation():
            with autocast(self.world.device, self.precision):
                output = self.forward(batch.to(self.world.device), progress)
            with self.world.waiting() if last else nullcontext():  # gradients are averaged in the last one
                torch.autograd.backward(output.loss / progress.micro_steps)
        return output

    def _require_finite(self, numbers: StepNumbers, batch: Sequence[BatchT], progress: Progress) -> None:
        if not self.world.any(not numbers.is_finite):
            return
        indices = [micro_batch.indices for micro_batch in batch]
        # DDP has spread a bad loss's gradient to all ranks; the one with the loss knows the samples.
        losses = [text for text in self.world.collect(explain_losses(numbers.measured, indices)) if text]
        raise divergence_error(
            losses[0] if losses else explain_gradient(self.learner.model, indices),
            step=progress.step + 1,
            total_steps=progress.total_steps,
            checkpoint=latest_checkpoint(self.checkpoints),
        )


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's generators for one step of one process."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "big") >> 1)
