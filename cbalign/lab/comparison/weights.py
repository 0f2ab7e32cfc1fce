"""How far the tensors of two models are apart."""

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
    """What became of the tensors that two files, or two sets of them, share.

    Args:
        place: what the tensors are of (`fp32/image.onnx`).
        compared: how many have the same name and shape.
        changed: those that are not equal, most first.
        reshaped: names that both have, with different shapes.
        only: names that only the first has, and names that only the second has.
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
    """Compare tensor by tensor, holding one pair at a time.

    Args:
        place: what to call it all.
        names: of the tensors of each side.
        readers: give a tensor of each side by name.
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
    """|B - A| / |A| by the Euclidean norm, in float64; 0 exactly when all numbers are equal."""
    import numpy as np

    if np.array_equal(before, after):
        return 0.0
    first, second = before.astype(np.float64).ravel(), after.astype(np.float64).ravel()
    scale = float(np.linalg.norm(first))
    return float(np.linalg.norm(second - first)) / scale if scale else float("inf")


def typical(changes: Sequence[TensorChange]) -> float:
    """The median of relative changes."""
    ordered = sorted(change.relative for change in changes)
    return ordered[len(ordered) // 2]
