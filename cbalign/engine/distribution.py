"""The processes that train one model together, as each of them sees it.

`World` is what tasks and objectives are given: in a single process every operation on it is the identity and costs
nothing. Processes are started by torchrun or by SLURM's `srun`; both say who is who in environment variables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from cbalign.engine.precision import choose_device
from cbalign.errors import UsageError

T = TypeVar("T")
JOIN_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class World:
    """This process (`rank` of `size`) and its device. All methods are collective: every rank must call them."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def single(cls, device: torch.device | str = "cpu") -> World:
        """The world of one process."""
        return cls(rank=0, size=1, device=torch.device(device))

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def gather(self, tensor: Tensor) -> Tensor:
        """The rows of all ranks, in rank order: (B, …) to (size · B, …), with gradient if `tensor` has one.

        Every rank must hold equally many rows. The gradient of each row is summed over all ranks' losses, so that
        averaging parameter gradients over ranks (as DDP does) gives the gradient of the mean loss.
        """
        if self.size == 1:
            return tensor
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
        dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on any rank."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)) > 0)

    def share(self, value: T) -> T:
        """The main process's `value`, on every rank. It travels pickled, between our own processes only."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        shared: T = box[0]
        return shared

    def collect(self, value: T) -> list[T]:
        """Every rank's `value`, in rank order, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
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


@dataclass(frozen=True)
class Placement:
    """Which process this is, according to its launcher, and where the processes meet."""

    rank: int
    size: int
    local_rank: int
    meeting: str  # torch's init_method


def read_placement(environment: Mapping[str, str]) -> Placement | None:
    """What torchrun's or `srun`'s variables say; None in a process that was started alone.

    Raises:
        UsageError: the variables are there but contradict each other.
    """
    try:
        if "RANK" in environment and "WORLD_SIZE" in environment:
            rank = int(environment["RANK"])
            placement = Placement(
                rank=rank,
                size=int(environment["WORLD_SIZE"]),
                local_rank=int(environment.get("LOCAL_RANK", rank)),
                meeting="env://",
            )
        # Only a step of `srun` has these; SLURM_NTASKS alone also appears in batch scripts that run once.
        elif int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "SLURM_PROCID" in environment:
            nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
            address = environment.get("MASTER_ADDR") or first_host(nodes)
            port = environment.get("MASTER_PORT") or 20000 + int(environment.get("SLURM_JOB_ID", 0)) % 20000
            placement = Placement(
                rank=int(environment["SLURM_PROCID"]),
                size=int(environment["SLURM_STEP_NUM_TASKS"]),
                local_rank=int(environment.get("SLURM_LOCALID", 0)),
                meeting=f"tcp://{address}:{port}",
            )
        else:
            return None
    except ValueError as error:
        raise UsageError(
            f"The launcher's environment variables cannot be read: {error}.",
            remedy="Start with torchrun or srun, or unset RANK, WORLD_SIZE and SLURM_STEP_NUM_TASKS.",
        ) from None
    if not 0 <= placement.rank < placement.size:
        raise UsageError(
            f"The launcher's environment variables say rank {placement.rank} of {placement.size}.",
            remedy="Ranks are numbered from 0; unset RANK and WORLD_SIZE to train in one process.",
        )
    return placement


def first_host(nodes: str) -> str:
    """The first host of SLURM's compressed list: `gpu[03-07,9],login1` gives `gpu03`."""
    match = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^,]*))?", nodes)
    if match is None:
        return "127.0.0.1"
    return match[1] + (match[2] or "") + (match[3] or "")


@contextmanager
def open_world(device: str, environment: Mapping[str, str] | None = None) -> Iterator[World]:
    """Join the processes that the environment names, for as long as the context lasts.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        environment: `os.environ` where left out.

    Raises:
        DeviceError: a GPU was asked for that is not there.
        UsageError: the launcher's variables contradict each other.
    """
    placement = read_placement(os.environ if environment is None else environment)
    chosen = choose_device(device, local_rank=placement.local_rank if placement else 0)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if placement is None or placement.size == 1:
        yield World.single(chosen)
        return
    dist.init_process_group(
        "nccl" if chosen.type == "cuda" else "gloo",
        init_method=placement.meeting,
        rank=placement.rank,
        world_size=placement.size,
        timeout=JOIN_TIMEOUT,
    )
    try:
        yield World(placement.rank, placement.size, chosen)
    finally:
        dist.destroy_process_group()
