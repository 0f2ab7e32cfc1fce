"""What a command says when the packages it needs are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cbalign.errors import MissingExtraError

_TRAINING = frozenset(
    {"onnx", "onnxscript", "safetensors", "tensorboard", "timm", "torch", "torchvision", "transformers"}
)


@contextmanager
def needs_training_extra() -> Iterator[None]:
    """Imports inside need the packages of `cbalign[train]`.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _TRAINING:
            raise
        raise MissingExtraError(
            f"This command needs the package {package}, which is not installed.",
            remedy="Install the training extra: pip install 'cbalign[train]'",
        ) from error
