"""The tensors of a checkpoint with an account of which were used, and their common conversions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from cbalign.errors import CheckpointError

SHOWN = 4  # names in a message
_DIGITS = 4  # of a block's number


class Tensors:
    """The tensors of a checkpoint by name; remembers which were taken.

    Args:
        tensors: by the names in the file.
        origin: the name of the file in messages.
    """

    def __init__(self, tensors: Mapping[str, Tensor], origin: str) -> None:
        self._tensors = dict(tensors)
        self._taken: set[str] = set()
        self.origin = origin

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def take(self, name: str) -> Tensor:
        """Return a tensor.

        Raises:
            CheckpointError: the file does not have it.
        """
        if name not in self._tensors:
            raise CheckpointError(f"{self.origin}: the tensor {name} is missing")
        self._taken.add(name)
        return self._tensors[name]

    def take_if_there(self, name: str) -> Tensor | None:
        """Return a tensor, or None if the file does not have it."""
        return self.take(name) if name in self._tensors else None

    def below(self, prefix: str) -> Tensors:
        """Take every tensor whose name begins with `prefix` and that was not taken yet.

        Args:
            prefix: with the final dot; removed from the names.

        Returns:
            The tensors, with an account of their own.
        """
        found = [name for name in self._tensors if name.startswith(prefix) and name not in self._taken]
        self._taken.update(found)
        return Tensors({n.removeprefix(prefix): self._tensors[n] for n in found}, f"{self.origin}, {prefix}…")

    def take_all(self) -> dict[str, Tensor]:
        """Take every tensor that was not taken yet."""
        found = {name: tensor for name, tensor in self._tensors.items() if name not in self._taken}
        self._taken.update(found)
        return found

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """Return the shape of a tensor, which is not taken.

        Raises:
            CheckpointError: it is missing or has another number of dimensions.
        """
        if name not in self._tensors:
            raise CheckpointError(f"{self.origin}: the tensor {name} is missing")
        shape = tuple(self._tensors[name].shape)
        if len(shape) != dimensions:
            raise CheckpointError(f"{self.origin}: {name} has shape {shape}, not {dimensions} dimensions")
        return shape

    def drop(self, names: Iterable[str]) -> tuple[str, ...]:
        """Take tensors that carry no information, and return the names of those that the file has."""
        found = tuple(name for name in names if name in self._tensors)
        self._taken.update(found)
        return found

    @property
    def left(self) -> tuple[str, ...]:
        """The names of the tensors that were not taken."""
        return tuple(name for name in self._tensors if name not in self._taken)

    def refuse_rest(self, part: str, remedy: str | None = None) -> None:
        """Refuse tensors that were not taken.

        Raises:
            CheckpointError: there are some.
        """
        if left := self.left:
            shown = ", ".join(left[:SHOWN])
            more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
            raise CheckpointError(f"{self.origin}: cbalign's {part} has no place for {shown}{more}", remedy=remedy)


def numbers(names: Iterable[str], prefix: str) -> int:
    """Return how many numbered blocks `{prefix}0.…`, `{prefix}1.…` the names contain.

    Raises:
        CheckpointError: a number is larger than any model's.
    """
    found = {name.removeprefix(prefix).partition(".")[0] for name in names if name.startswith(prefix)}
    digits = [each for each in found if each.isascii() and each.isdecimal()]
    if wrong := [each for each in digits if len(each) > _DIGITS]:
        raise CheckpointError(f"no model has a block {prefix}{wrong[0][:20]}…")
    return max(map(int, digits), default=-1) + 1
