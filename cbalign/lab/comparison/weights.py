"""Measure the differences between the tensors of two models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TensorChange:
    """One tensor of two models. `relative` is |B - A| / |A|, infinite where A is zero and B is not."""

    name: str
    relative: float


@dataclass(frozen=True)
class WeightChanges:
    """Differences between the tensors of two files or sets of files.

    Args:
        place: name of the file (`fp32/image.onnx`).
        compared: number of tensors with the same name and shape.
        changed: unequal tensors, largest change first.
        reshaped: names with different shapes.
        only: names only in the first, and names only in the second.
    """

    place: str
    compared: int
    changed: tuple[TensorChange, ...]
    reshaped: tuple[str, ...] = ()
    only: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    @property
    def same(self) -> bool:
        """Whether all tensors are equal."""
        return not self.changed and not self.reshaped and not any(self.only)


Reader = Callable[[str], "NDArray[np.generic]"]


def compare_tensors(
    place: str, names: tuple[Iterable[str], Iterable[str]], readers: tuple[Reader, Reader]
) -> WeightChanges:
    """Compare tensor by tensor, with one pair in memory at a time.

    Args:
        place: name of the compared files.
        names: names of the tensors of each side.
        readers: read a tensor of each side by name.
    """
    first, second = (dict.fromkeys(side) for side in names)
    common = [name for name in first if name in second]
    changed, reshaped = [], []
    for name in common:
        before, after = readers[0](name), readers[1](name)
        if before.shape != after.shape:
            reshaped.append(name)
        elif (relative := relative_change(before, after)) > 0:
            changed.append(TensorChange(name, relative))
    changed.sort(key=lambda change: -change.relative)
    only = tuple(n for n in first if n not in second), tuple(n for n in second if n not in first)
    return WeightChanges(place, len(common) - len(reshaped), tuple(changed), tuple(reshaped), only)


def relative_change(before: NDArray[np.generic], after: NDArray[np.generic]) -> float:
    """Compute |B - A| / |A| with the Euclidean norm in float64; 0 if and only if all values are equal."""
    import numpy as np

    if np.array_equal(before, after):
        return 0.0
    first, second = before.astype(np.float64).ravel(), after.astype(np.float64).ravel()
    scale = float(np.linalg.norm(first))
    return float(np.linalg.norm(second - first)) / scale if scale else float("inf")


def typical(changes: Sequence[TensorChange]) -> float:
    """Return the median of relative changes."""
    ordered = sorted(change.relative for change in changes)
    return ordered[len(ordered) // 2]
