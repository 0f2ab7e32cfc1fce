"""Read the counters and tensors of checkpoints without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cbalign.errors import CheckpointError
from cbalign.experiment.tensors import TensorInfo, TensorShape, TensorTable, part_by_name
from cbalign.lab.comparison.weights import WeightChanges, compare_tensors
from cbalign.models.renamed import current_name, with_current_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL, STATE = "model.safetensors", "state.json"
_LONGEST_HEADER = 100_000_000  # bytes, limit of the format
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}


@dataclass(frozen=True)
class Counters:
    """The progress of a training."""

    step: int
    total_steps: int
    steps_per_epoch: int


def read_counters(checkpoint: Path) -> Counters:
    """Read the counters of a checkpoint folder.

    Raises:
        CheckpointError: they are missing or damaged.
    """
    path = checkpoint / STATE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Counters(*(int(values[name]) for name in ("step", "total_steps", "steps_per_epoch")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"Cannot read the counters in {path}: {error}.") from error


def read_tensors(checkpoint: Path) -> TensorTable | None:
    """Read the table of tensors from the header of a checkpoint's file; `None` without a file.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not (checkpoint / MODEL).is_file():
        return None
    return TensorFile.open(checkpoint / MODEL).table()


@dataclass(frozen=True)
class _Entry:
    kind: str
    shape: TensorShape
    start: int  # of its values in the file
    stop: int

    @property
    def itemsize(self) -> int:
        return (self.stop - self.start) // max(1, math.prod(self.shape))


@dataclass(frozen=True)
class TensorFile:
    """The header of a safetensors file. Tied names have their own entries.

    Names from older versions are replaced by the current ones.
    """

    path: Path
    entries: Mapping[str, _Entry]
    tied: frozenset[str] = frozenset()  # names whose values are stored under another name

    @classmethod
    def open(cls, path: Path) -> TensorFile:
        """Read the header.

        Raises:
            CheckpointError: the file is missing, truncated or not a safetensors file.
        """
        try:
            with open(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if length > _LONGEST_HEADER:
                    raise ValueError("no header of the safetensors format")
                header = json.loads(file.read(length))
                size = file.seek(0, 2) - 8 - length
            tied = json.loads(header.pop("__metadata__", {}).get("tied", "{}"))
            entries = {name: _entry(value, 8 + length, size) for name, value in header.items()}
            named = with_current_names(entries | {name: entries[kept] for name, kept in tied.items()})
            return cls(path, named, frozenset(map(current_name, tied)))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"Cannot read the weights in {path}: {error}.") from error

    def table(self) -> TensorTable:
        """Return all tensors; the format does not distinguish parameters from buffers."""
        return TensorTable(
            {
                name: TensorInfo(entry.shape, entry.itemsize, part_by_name(name), tied=name in self.tied)
                for name, entry in self.entries.items()
            }
        )

    def read(self, name: str) -> NDArray[np.generic]:
        """Read one tensor, without the rest of the file.

        Raises:
            CheckpointError: numpy lacks the dtype.
        """
        import numpy as np

        entry = self.entries[name]
        if entry.kind == "BF16":  # the upper half of a float32
            halves = np.fromfile(self.path, "<u2", math.prod(entry.shape), offset=entry.start)
            return (halves.astype("<u4") << 16).view("<f4").reshape(entry.shape)
        if entry.kind not in _TYPES:
            raise CheckpointError(f"{self.path}: {name} has the dtype {entry.kind}, which numpy cannot read.")
        count = math.prod(entry.shape)
        return np.fromfile(self.path, _TYPES[entry.kind], count, offset=entry.start).reshape(entry.shape)


def _entry(value: Mapping[str, object], first: int, size: int) -> _Entry:
    kind, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list):
        raise ValueError("a tensor without shape")
    start, stop = map(int, offsets)
    if not 0 <= start <= stop <= size:
        raise ValueError("the file is truncated")
    return _Entry(str(kind), tuple(map(int, shape)), first + start, first + stop)


def compare_checkpoints(before: Path, after: Path) -> WeightChanges | None:
    """Compare the tensors of two checkpoint folders; `None` if one has a different format.

    Raises:
        CheckpointError: a file is damaged.
    """
    if not (before / MODEL).is_file() or not (after / MODEL).is_file():
        return None
    first, second = TensorFile.open(before / MODEL), TensorFile.open(after / MODEL)
    return compare_tensors(MODEL, (first.entries, second.entries), (first.read, second.read))
