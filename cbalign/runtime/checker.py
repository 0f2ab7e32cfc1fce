"""ONNX's own checker over a bundle's graphs, where the package `onnx` is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from cbalign.errors import BundleError


def has_checker() -> bool:
    """Whether graphs can be checked here: running a bundle does not need the package."""
    return find_spec("onnx") is not None


def check_graph(path: Path) -> None:
    """Check one graph against the operator specification, its shapes included.

    Raises:
        BundleError: it breaks it.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # its own, protobuf's, and those of shape inference
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"{path}: not a valid ONNX graph ({reason})", remedy="Make it anew with `cbalign export`."
        ) from error
