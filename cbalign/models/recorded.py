"""The tensors of a built model as a table.

A module class names the part of the model that it is by the class attribute `part_name` (`part_name = "codebook"`).
A tensor or module belongs to the part of the nearest module that encloses it and has the attribute.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from cbalign.experiment.tensors import TensorInfo, TensorKind, TensorTable, part_by_name
from cbalign.models.momentum import MomentumTeacher


@dataclass(frozen=True)
class Owner:
    """What a module belongs to: a part of the model, where an enclosing module names one, and maybe the teacher."""

    part: str | None = None
    teacher: bool = False


def module_owners(model: nn.Module) -> dict[str, Owner]:
    """What each module of a model belongs to, by the module's name."""
    owners: dict[str, Owner] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        above = owners[name.rpartition(".")[0]] if name else Owner()
        part = getattr(type(module), "part_name", above.part)
        owners[name] = Owner(part, above.teacher or isinstance(module, MomentumTeacher))
    return owners


def tensor_table(model: nn.Module) -> TensorTable:
    """The tensors that a checkpoint of `model` has."""
    owners = module_owners(model)
    seen: set[int] = set()
    table: dict[str, TensorInfo] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, Tensor):
            continue
        owner = owners.get(name.rpartition(".")[0], Owner())
        table[name] = TensorInfo(
            shape=tuple(tensor.shape),
            itemsize=tensor.element_size(),
            part=owner.part or part_by_name(name).rpartition(".")[2].replace("_", " "),
            kind=_kind(tensor),
            teacher=owner.teacher,
            tied=id(tensor) in seen,
        )
        seen.add(id(tensor))
    return TensorTable(table)


def _kind(tensor: Tensor) -> TensorKind:
    if not isinstance(tensor, nn.Parameter):
        return "buffer"
    return "trainable" if tensor.requires_grad else "frozen"
