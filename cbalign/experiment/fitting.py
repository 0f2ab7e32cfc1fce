"""Compare the tensors of two models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cbalign.experiment.tensors import TensorShape, TensorTable


@dataclass(frozen=True)
class Misfit:
    """A tensor that cannot be loaded from A into B; the shape is `None` if a model lacks the tensor."""

    name: str
    part: str
    before: TensorShape | None
    after: TensorShape | None

    @property
    def kind(self) -> Literal["reshaped", "only in A", "only in B"]:
        """The reason why it cannot be loaded."""
        if self.after is None:
            return "only in A"
        return "only in B" if self.before is None else "reshaped"

    def __str__(self) -> str:
        if self.before is not None and self.after is not None:
            return f"{self.name} {_sizes(self.before)} → {_sizes(self.after)}"
        return f"{self.name} {_sizes(self.before or self.after or ())}"


def misfits(before: TensorTable, after: TensorTable) -> list[Misfit]:
    """Return the tensors that only one model has or whose shapes differ, in model order."""
    old, new = before.shapes, after.shapes
    names = dict.fromkeys((*new, *old))
    return [Misfit(n, _part(n, before, after), old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)]


def summarise_misfits(found: list[Misfit]) -> str:
    """Summarise by part of the model: `codebook (2 reshaped, first codebook.prototypes 256×256 → 128×256)`."""
    parts: dict[str, list[Misfit]] = {}
    for misfit in found:
        parts.setdefault(misfit.part, []).append(misfit)
    return "; ".join(f"{part} ({', '.join(_counts(of_part))})" for part, of_part in parts.items())


def _part(name: str, before: TensorTable, after: TensorTable) -> str:
    """Return the part that a tensor belongs to, preferably from a table that recorded it."""
    found = [table.tensors[name] for table in (after, before) if name in table.tensors]
    return next((tensor.part for tensor in found if tensor.kind is not None), found[0].part)


def _counts(of_part: list[Misfit]) -> Iterator[str]:
    for kind in dict.fromkeys(misfit.kind for misfit in of_part):
        same = [misfit for misfit in of_part if misfit.kind == kind]
        yield f"{len(same)} {kind}, {'first ' * (len(same) > 1)}{same[0]}"


def _sizes(shape: TensorShape) -> str:
    return "×".join(map(str, shape)) or "scalar"
