"""The process group of a training.

Tasks and objectives use `World`; in a single process, every operation on it is the identity and has no cost.
Processes are started by torchrun or SLURM's `srun`, which set ranks in environment variables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import _get_default_store

from cbalign.engine.device import choose_device
from cbalign.engine.placement import read_placement
from cbalign.engine.watch import RankWatch
from cbalign.errors import ProcessLostError, UsageError

T = TypeVar("T")
JOIN_TIMEOUT = timedelta(minutes=30)
_LATER = timedelta(minutes=1)  # torch's own limit, which names no process, comes after ours


@dataclass(frozen=True)
class World:
    """This process (`rank` of `size`) and its device. All methods are collective: every rank must call them."""

    rank: int
    size: int
    device: torch.device
    watch: RankWatch | None = field(default=None, compare=False, repr=False)

    @classmethod
    def single(cls, device: torch.device | str = "cpu") -> World:
        """Return the group of a single process."""
        return cls(rank=0, size=1, device=torch.device(device))

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def waiting(self) -> AbstractContextManager[None]:
        """Mark work that may wait for other processes, so that one that hangs is named."""
        return nullcontext() if self.watch is None else self.watch.waiting()

    def gather(self, tensor: Tensor) -> Tensor:
        """The rows of all ranks, in rank order: (B, …) to (size · B, …), with gradient if `tensor` has one.

        Every rank must hold equally many rows. The gradient of each row is summed over all ranks' losses, so that
        averaging parameter gradients over ranks (as DDP does) gives the gradient of the mean loss.
        """
        if self.size == 1:
            return tensor
        with self.waiting():
            if tensor.requires_grad and torch.is_grad_enabled():
                gathered: Tensor = _GatherWithGradient.apply(tensor, self.rank, self.size)
                return gathered
            return _all_gather(tensor, self.size)

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over ranks, without gradient."""
        return self.sum(tensor) / self.size

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, without gradient."""
        if self.size == 1:
            return tensor.detach()
        total = tensor.detach().clone()
        with self.waiting():
            dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on any rank."""
        if self.size == 1:
            return flag
        with self.waiting():  # on a GPU, reading the sum is what waits
            return bool(self.sum(torch.tensor(float(flag), device=self.device)) > 0)

    def share(self, value: T) -> T:
        """The main process's `value`, on every rank. It travels pickled, between our own processes only."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        with self.waiting():
            dist.broadcast_object_list(box, src=0)
        shared: T = box[0]
        return shared

    def collect(self, value: T) -> list[T]:
        """Every rank's `value`, in rank order, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self.waiting():
            dist.all_gather_object(values, value)
        return values

    def raise_first(self, failure: Exception | None) -> None:
        """Raise the first failure of any rank, in rank order, on every rank."""
        for each in self.collect(failure):
            if each is not None:
                raise each

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            with self.waiting():
                dist.barrier()


class _GatherWithGradient(torch.autograd.Function):
    """All-gather along dimension 0; backward sums each row's gradient over the ranks."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rank: int, size: int) -> Tensor:
        ctx.rank, ctx.rows = rank, len(tensor)
        return _all_gather(tensor, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.rank * ctx.rows : (ctx.rank + 1) * ctx.rows], None, None


def _all_gather(tensor: Tensor, size: int) -> Tensor:
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(size)]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)


@contextmanager
def open_world(
    device: str, environment: Mapping[str, str] | None = None, *, timeout: float = JOIN_TIMEOUT.total_seconds()
) -> Iterator[World]:
    """Join the processes that the environment names, for as long as the context lasts.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        environment: `os.environ` where left out.
        timeout: seconds that a process waits for the others before it ends and names the one that hangs.

    Raises:
        DeviceError: the requested GPU does not exist.
        UsageError: the launcher's variables contradict each other, or all processes are to share one GPU.
        ProcessLostError: another process ended while this one waited for it.
    """
    placement = read_placement(os.environ if environment is None else environment)
    chosen = choose_device(device, local_rank=placement.local_rank if placement else 0, name="train.device")
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if placement is None or placement.size == 1:
        yield World.single(chosen)
        return
    if ":" in device:
        raise UsageError(
            f"train.device is {device}, one GPU, but {placement.size} processes train together.",
            remedy="Set train.device to cuda or auto: each process then takes a GPU of its own.",
        )
    lost = False
    try:
        with translate_lost_process_errors():
            dist.init_process_group(
                "nccl" if chosen.type == "cuda" else "gloo",
                init_method=placement.meeting,
                rank=placement.rank,
                world_size=placement.size,
                timeout=max(JOIN_TIMEOUT, timedelta(seconds=2 * timeout) + _LATER),
            )
            with RankWatch(_get_default_store(), placement.rank, placement.size, timeout) as watch:
                yield World(placement.rank, placement.size, chosen, watch)
    except ProcessLostError:
        lost = True  # closing the connections might wait for the one that is gone
        raise
    finally:
        if not lost and dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def translate_lost_process_errors(resume_command: str | None = None) -> Iterator[None]:
    """Translate the transport's errors about a lost process into `ProcessLostError`.

    Args:
        resume_command: the command that resumes the training.

    Raises:
        ProcessLostError: another process ended.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(word in str(error) for word in _LOST):
            raise
        raise ProcessLostError(
            "Another process of this training ended; this one cannot continue without it.",
            remedy=None if resume_command is None else f"Resume from the newest checkpoint with: {resume_command}",
        ) from error


# gloo's messages about lost connections; NCCL and the store raise `DistError`.
_LOST = ("Connection closed by peer", "Connection reset by peer", "gloo/transport", "Broken pipe")
