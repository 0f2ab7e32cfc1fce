"""Check a bundle's graphs with the ONNX checker, if the package `onnx` is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from cbalign.errors import BundleError


def has_checker() -> bool:
    """Return whether the ONNX checker is installed; running a bundle does not need it."""
    return find_spec("onnx") is not None


def check_graph(path: Path) -> None:
    """Check one graph, including its shapes, against the operator specification.

    Raises:
        BundleError: the graph is invalid.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # of the checker, protobuf or shape inference
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"{path}: not a valid ONNX graph ({reason})", remedy="Export it again with `cbalign export`."
        ) from error
