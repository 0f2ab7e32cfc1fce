"""FSDP2: weights, gradients and AdamW's moments are sharded over the processes by rows of each tensor.

A module is put together again while its forward and backward pass need it: the blocks of the towers one at a time, the
rest for the whole step. Outside of the passes every parameter is a `DTensor`; scalars stay whole on every process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from cbalign.engine.task import ParameterGroup
from cbalign.models.tower import Tower


class Sharded:
    """Shards the parameters of a module.

    Args:
        root: what one step calls; its parameters are replaced by sharded ones of the same names.
        groups: the optimiser's, of the parameters as they were.
        device: where this process computes.
        size: number of processes.
    """

    def __init__(self, root: nn.Module, groups: Sequence[ParameterGroup], device: torch.device, size: int) -> None:
        names = {id(parameter): name for name, parameter in root.named_parameters()}
        members = [[names[id(p)] for p in group.parameters] for group in groups]
        self._scalars = [p for p in root.parameters() if p.ndim == 0]
        mesh = init_device_mesh(device.type, (size,))
        for tower in list(root.modules()):
            if isinstance(tower, Tower):
                for block in tower.blocks:
                    fully_shard(block, mesh=mesh)
        fully_shard(root, mesh=mesh, ignored_params=set(self._scalars))
        self._units = [module for module in root.modules() if isinstance(module, FSDPModule)]
        sharded = dict(root.named_parameters())
        self.groups = [
            replace(group, parameters=part)
            for group, own in zip(groups, members)
            for part in split([sharded[name] for name in own])
        ]

    def average_scalars(self) -> None:
        """Average the gradients of scalars, as the backward pass does for sharded parameters."""
        for parameter in self._scalars:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All parameters put together on every process, so that forward passes inside need no other process."""
        for unit in self._units:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()
        try:
            yield
        finally:
            for i, unit in enumerate(self._units):
                unit.reshard()
                unit.set_reshard_after_forward(i > 0, recurse=False)  # the root's stay for the backward pass


def split(tensors: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Separate sharded from other parameters, because torch's foreach kernels do not accept a mixture."""
    parts: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for tensor in tensors:
        parts[0 if isinstance(tensor, DTensor) else 1].append(tensor)
    return [part for part in parts if part]


def whole_tensor(tensor: Tensor) -> Tensor:
    """The tensor put together from its shards; all processes have to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_tensors(tensors: Mapping[str, Tensor], *, kept: bool) -> dict[str, Tensor]:
    """All of them whole, one after the other through the device's memory; empty where they are not to be kept.

    What was sharded then lies on the CPU. Names of one tensor share the result.
    """
    distinct = {id(tensor): tensor for tensor in tensors.values()}
    found: dict[int, Tensor] = {}
    for key, tensor in distinct.items():
        whole = whole_tensor(tensor.detach())
        if kept:
            found[key] = whole.cpu() if isinstance(tensor, DTensor) else whole
    return {name: found[id(tensor)] for name, tensor in tensors.items()} if kept else {}


def sharded_like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """The shard of `tensor` that this process holds of `pattern`; every process has the whole `tensor`."""
    if not isinstance(pattern, DTensor):
        return tensor
    return distribute_tensor(tensor.to(pattern.device), pattern.device_mesh, pattern.placements, src_data_rank=None)


def total_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The norm of all gradients together, a scalar that every process knows."""
    norms = [
        whole_tensor(torch.nn.utils.get_total_norm([p.grad for p in part if p.grad is not None]))
        for part in split(parameters)
    ]
    return norms[0] if len(norms) == 1 else torch.nn.utils.get_total_norm(norms)


def clip(parameters: Sequence[nn.Parameter], limit: float, norm: Tensor) -> None:
    """Scale all gradients so that their norm, which is `norm`, is at most `limit`."""
    for part in split(parameters):
        torch.nn.utils.clip_grads_with_norm_(part, limit, norm)
