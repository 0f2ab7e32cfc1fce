"""Compare the graphs of two bundles: operator sets, operators, and weights tensor by tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbalign.errors import BundleError
from cbalign.lab.comparison.weights import WeightChanges, compare_tensors
from cbalign.runtime.bundle import BundleFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class GraphChanges:
    """Differences of one graph file in two bundles. `weights` is `None` if onnx is not installed."""

    name: str
    opsets: tuple[int, int] | None
    operators: Mapping[str, tuple[int, int]]  # operators with different counts
    weights: WeightChanges | None

    @property
    def computes_the_same(self) -> bool:
        """Whether operator sets, operators and weights are equal, so that only metadata differs."""
        same_set = self.opsets is not None and self.opsets[0] == self.opsets[1]
        return same_set and not self.operators and self.weights is not None and self.weights.same


def compare_graphs(before: BundleFolder, after: BundleFolder) -> list[GraphChanges]:
    """Compare the graph files of both bundles that are not identical.

    Raises:
        BundleError: a file is missing or is not an ONNX graph.
    """
    names = [n for n in before.manifest.files if n.endswith(".onnx") and n in after.manifest.files]
    return [_compare(name, before.folder, after.folder) for name in names if _differs(name, before, after)]


def _differs(name: str, before: BundleFolder, after: BundleFolder) -> bool:
    """Return whether a graph, or its external weights, differ."""
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
    """A graph whose external weights are not loaded."""

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
