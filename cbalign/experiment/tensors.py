"""Tables of the tensors of a model: shape, size, part of the model, trained or not.

A table is built from a model (`cbalign.models.recorded`) or from the header of a checkpoint. Reading it does not
require torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Self

TENSORS = "tensors"
"""Key of the table in the metadata (`facts`) of a run's manifest."""

TensorShape = tuple[int, ...]
TensorKind = Literal["trainable", "frozen", "buffer"]

_KINDS: tuple[TensorKind, ...] = ("trainable", "frozen", "buffer")


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a checkpoint.

    Args:
        shape: its shape.
        itemsize: bytes per element.
        part: the part of the model that it belongs to, in words.
        kind: a trained parameter, another parameter, or a buffer; None if only the header of a checkpoint was read.
        teacher: whether it belongs to the momentum teacher.
        tied: whether it shares memory with an earlier name in the table.
    """

    shape: TensorShape
    itemsize: int
    part: str
    kind: TensorKind | None = None
    teacher: bool = False
    tied: bool = False

    @property
    def elements(self) -> int:
        """Number of elements; 0 for a tied tensor."""
        return 0 if self.tied else math.prod(self.shape)


@dataclass(frozen=True)
class TensorTable:
    """All tensors of a model by name, in model order."""

    tensors: Mapping[str, TensorInfo]

    @property
    def shapes(self) -> dict[str, TensorShape]:
        """The shape of each tensor."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    @property
    def bytes(self) -> int:
        """Size of all tensors."""
        return sum(tensor.elements * tensor.itemsize for tensor in self.tensors.values())

    @property
    def trainable_parameters(self) -> int | None:
        """Number of elements that the optimiser updates; None if the table has tensors of unknown kind."""
        return sum(self.trainable_by_part().values()) if self._kinds_are_known else None

    @property
    def teacher_parameters(self) -> int | None:
        """Number of parameters of the momentum teacher; None if the table has tensors of unknown kind."""
        if not self._kinds_are_known:
            return None
        return sum(t.elements for t in self.tensors.values() if t.teacher and t.kind != "buffer")

    @property
    def frozen_parameters(self) -> int:
        """Number of parameters of the student that nothing updates."""
        return sum(t.elements for t in self.tensors.values() if t.kind == "frozen" and not t.teacher)

    def trainable_by_part(self) -> dict[str, int]:
        """Number of elements that the optimiser updates, by part of the model."""
        counts: dict[str, int] = {}
        for tensor in self.tensors.values():
            if tensor.kind == "trainable":
                counts[tensor.part] = counts.get(tensor.part, 0) + tensor.elements
        return counts

    def described_by(self, record: TensorTable) -> TensorTable:
        """Return this table with the parts and kinds of `record`, for tensors of equal name and shape."""

        def described(name: str, tensor: TensorInfo) -> TensorInfo:
            known = record.tensors.get(name)
            return known if known is not None and known.shape == tensor.shape else tensor

        return TensorTable({name: described(name, tensor) for name, tensor in self.tensors.items()})

    def to_json(self) -> list[dict[str, object]]:
        """Return the table as JSON data; tensors that differ only in name and shape share one entry."""
        groups: dict[TensorInfo, dict[str, str]] = {}
        for name, tensor in self.tensors.items():
            group = TensorInfo((), tensor.itemsize, tensor.part, tensor.kind, tensor.teacher, tensor.tied)
            groups.setdefault(group, {})[name] = "x".join(map(str, tensor.shape))
        return [
            {
                "part": group.part,
                "kind": group.kind,
                "teacher": group.teacher,
                "tied": group.tied,
                "itemsize": group.itemsize,
                "shapes": shapes,
            }
            for group, shapes in groups.items()
        ]

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read a table that `to_json` wrote.

        Raises:
            ValueError: it is malformed.
        """
        try:
            return cls(dict(_tensors(data)))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a table of tensors: {error!r}") from error

    @property
    def _kinds_are_known(self) -> bool:
        return all(tensor.kind is not None for tensor in self.tensors.values())


def part_by_name(name: str) -> str:
    """Guess the part that a tensor belongs to from its name: the first two modules (`student.vision`)."""
    return ".".join(name.split(".")[:-1][:2]) or name


def _tensors(data: object) -> Iterator[tuple[str, TensorInfo]]:
    if not isinstance(data, list):
        raise TypeError("a list is expected")
    for group in data:
        if group["kind"] is not None and group["kind"] not in _KINDS:
            raise ValueError(f"unknown kind of tensor {group['kind']!r}")
        for name, sizes in group["shapes"].items():
            shape = tuple(int(size) for size in sizes.split("x") if size)
            yield (
                str(name),
                TensorInfo(
                    shape,
                    int(group["itemsize"]),
                    str(group["part"]),
                    group["kind"],
                    bool(group["teacher"]),
                    bool(group["tied"]),
                ),
            )
