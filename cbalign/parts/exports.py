"""Base classes of the parts of an export: precisions of its graphs, and further layouts of the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from cbalign.parts.part import Part


@dataclass(frozen=True)
class ParityLimits:
    """Tolerances of the graphs of a precision relative to PyTorch.

    `measure` applies to tokens and embeddings: `difference`, the largest absolute difference relative to the largest
    expected value where that is above 1, or `distance`, the relative distance of the worst item. Scores are always
    measured by `difference`.
    """

    measure: Literal["difference", "distance"]
    tokens: float
    embedding: float
    scores: float
    codes: float  # fraction of vectors whose code differs, computed from pixels and texts
    recall: float  # points of the task's metric


class PrecisionSection(Part):
    """A number format of exported graphs, by its `name` in `export.precisions`; it has no settings.

    `builds` is called with (section, path of the float32 graph as PyTorch exported it) and returns the graph in this
    format as an `onnx_ir.Model`, with the same inputs and outputs. `requires`, in the same form, is called with
    (section) before an export and raises `cbalign.errors.DeviceError` if this machine cannot run such graphs.
    """

    name: ClassVar[str]
    requires: ClassVar[str | None] = None
    device: ClassVar[Literal["auto", "cpu"]] = "auto"
    """Default device of its graphs: `auto` (a GPU if available) or `cpu`."""

    tensorrt: ClassVar[str | None] = None
    """TensorRT's name of this precision (`FP16`); None if TensorRT cannot run its graphs."""

    caveat: ClassVar[str | None] = None
    """A limitation of its graphs, as a sentence for the model card."""

    purpose: ClassVar[str]
    """Its purpose in a few words, for the model card."""

    tolerance: ClassVar[float]
    """Maximum relative difference when a recorded computation is repeated on another machine."""

    limits: ClassVar[ParityLimits]
    """Limits of the parity checks."""

    @classmethod
    def part_name(cls) -> str:
        """The name in `export.precisions`."""
        return cls.name


class TargetSection(Part):
    """Another layout or format that an export builds from the finished bundle.

    `builds` is called with (section, folder of the bundle, empty folder to fill) and returns nothing. The folder is
    renamed to its final name when the call returns, and removed when it raises.
    """

    if TYPE_CHECKING:
        kind: str

    identity: ClassVar[tuple[str, ...]] = ("kind",)
    needs_graphs: ClassVar[tuple[str, ...]] = ()
    """Graphs that it requires."""

    next_step: ClassVar[str | None] = None
    """A command for the user to run next, with `{folder}` for the folder that was written."""
