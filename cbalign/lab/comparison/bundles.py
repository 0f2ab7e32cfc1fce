"""What tells the graphs of two bundles apart: operator sets, operators, and weights tensor by tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbalign.errors import BundleError
from cbalign.lab.comparison.weights import WeightChanges, compare_tensors
from cbalign.runtime.bundle import Bundle

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class GraphChanges:
    """One graph file of two bundles. `weights` is `None` where onnx, which reads them, is not installed."""

    name: str
    opsets: tuple[int, int] | None
    operators: Mapping[str, tuple[int, int]]  # those of which there are more or fewer
    weights: WeightChanges | None

    @property
    def computes_the_same(self) -> bool:
        """Whether operators, their set and all weights are equal, so that only notes in the file differ."""
        same_set = self.opsets is not None and self.opsets[0] == self.opsets[1]
        return same_set and not self.operators and self.weights is not None and self.weights.same


def compare_graphs(before: Bundle, after: Bundle) -> list[GraphChanges]:
    """The graph files that both bundles have and that are not byte for byte the same.

    Raises:
        BundleError: a file is missing or is no ONNX graph.
    """
    names = [n for n in before.manifest.files if n.endswith(".onnx") and n in after.manifest.files]
    return [_compare(name, before.folder, after.folder) for name in names if _differs(name, before, after)]


def _differs(name: str, before: Bundle, after: Bundle) -> bool:
    """Whether a graph, or the file beside it that holds weights too large for it, is another."""
    mine, theirs = (bundle.manifest.files for bundle in (before, after))
    return any(mine.get(file) != theirs.get(file) for file in (name, f"{name}.data"))


def _compare(name: str, before: Path, after: Path) -> GraphChanges:
    try:
        first, second = _Graph.open(before / name), _Graph.open(after / name)
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        return GraphChanges(name, None, {}, None)
    kinds = first.operators | second.operators
    counts = {kind: (first.operators[kind], second.operators[kind]) for kind in sorted(kinds)}
    return GraphChanges(
        name,
        (first.opset, second.opset),
        {kind: pair for kind, pair in counts.items() if pair[0] != pair[1]},
        compare_tensors(name, (first.tensors, second.tensors), (first.read, second.read)),
    )


@dataclass(frozen=True)
class _Graph:
    """A graph with its weights still on disk where they are outside of it."""

    folder: Path
    opset: int
    operators: Counter[str]
    tensors: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> _Graph:
        import onnx

        try:
            model = onnx.load(path, load_external_data=False)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
        except Exception as error:  # protobuf's own
            raise BundleError(f"{path} is not an ONNX graph: {error}") from error
        opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
        operators = Counter(node.op_type for node in model.graph.node)
        return cls(path.parent, opset, operators, {tensor.name: tensor for tensor in model.graph.initializer})

    def read(self, name: str) -> NDArray[np.generic]:
        from onnx import numpy_helper

        try:
            return numpy_helper.to_array(self.tensors[name], base_dir=str(self.folder))
        except Exception as error:  # onnx's own, for files beside the graph that are missing or cut off
            raise BundleError(f"{self.folder}: the weights {name} cannot be read ({error})") from error
