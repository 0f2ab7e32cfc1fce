"""Inputs and outputs of a bundle's graphs, as exported and as checked by the runtime.

Each task defines the signatures of its graphs (`cbalign.runtime.task.TaskRuntime.signatures`); bundles contain them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

DType: TypeAlias = Literal["uint8", "int64", "float32"]


@dataclass(frozen=True)
class Port:
    """One input or output. Named dimensions vary between calls; the model fixes those that are None."""

    name: str
    dtype: DType
    shape: tuple[str | None, ...]


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of one graph, in order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    is_optional: bool = False
    """Whether a bundle may lack the graph."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Signature:
        """Read a signature from JSON values, the form of `dataclasses.asdict`.

        Raises:
            ValueError: a value is wrong.
            TypeError: a value has the wrong type.
            KeyError: a value is missing.
        """
        inputs, outputs = (tuple(map(_port, values[key])) for key in ("inputs", "outputs"))
        return cls(inputs, outputs, is_optional=bool(values["is_optional"]))

    @property
    def is_batched(self) -> bool:
        """Whether all inputs and outputs have the same first dimension, so that items can be batched along it."""
        first = {port.shape[0] if port.shape else None for port in (*self.inputs, *self.outputs)}
        return len(first) == 1 and None not in first

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs."""
        return [port.name for port in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        return [port.name for port in self.outputs]


def _port(values: Mapping[str, Any]) -> Port:
    port = Port(values["name"], values["dtype"], tuple(values["shape"]))
    if not isinstance(port.name, str) or port.dtype not in get_args(DType):
        raise ValueError(f"it has an input or output {port.name!r} of type {port.dtype!r}")
    if not all(size is None or isinstance(size, str) for size in port.shape):
        raise ValueError(f"the shape of {port.name} is not a list of names")
    return port
