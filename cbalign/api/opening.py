"""Opening a run, a checkpoint or a bundle as a model."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cbalign.api.model import Model

if TYPE_CHECKING:
    from cbalign.api.bundles import Bundle
    from cbalign.api.runs import Run


def load(
    target: str | Path | Run | Bundle | Model,
    *,
    device: str = "auto",
    precision: str | None = None,
    warn: Callable[[str], None] | None = None,
) -> Model:
    """Open a trained model.

    Args:
        target: one of: a run directory, its name in `runs/` or the start of that name; `runs/latest`, the newest run; a
            checkpoint `RUN/checkpoints/step-N`; the folder of a bundle; a `Run` or `Bundle`; a `Model`, which is
            opened again.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`; for bundles also `tensorrt`.
        precision: which of the bundle's precisions to use; default: the first listed. A run computes in fp32.
        warn: called with each warning; default: they are Python warnings.

    Raises:
        UsageError: it is neither a run nor a bundle, or there is no such device or precision.
        CheckpointError: the run has no checkpoint, or it is damaged.
        BundleError: the bundle is damaged.
        DeviceError: the device does not exist.

    Examples:
        >>> model = cbalign.load("runs/latest")
        >>> model.encode_images(["a.jpg", "b.jpg"]).shape
        (2, 256)
    """
    from cbalign.tasks.opened import open_model

    path = find_model(target)
    opened = open_model(path, device, precision, warn=warn or python_warning)
    results = None if opened.results is None else opened.results.absolute()
    place = path.absolute()  # the working directory may change later
    return Model(replace(opened, results=results), place, lambda: _identity(opened.model, place))


def find_model(target: str | Path | Run | Bundle | Model) -> Path:
    """The folder that a user means by a path, a name in `runs/`, or an object of this API."""
    if not isinstance(target, str | Path):
        return target.path
    path = Path(target).expanduser()
    if path.exists():
        return path
    from cbalign.lab.runs.lookup import find_run

    if path.parent.name == "runs" or path.parent == Path("."):
        runs = path.parent if path.parent.name == "runs" else Path("runs")
        return find_run(runs, path.name).folder
    return path


def python_warning(text: str) -> None:
    """Show a warning the way Python does, where the public function was called."""
    warnings.warn(text, stacklevel=3)


def _identity(model: object, path: Path) -> str:
    """Equal for models that give the same vectors: the bundle's graph, or the checkpoint's weights."""
    from cbalign.apps.search.index import identity_of
    from cbalign.engine.checkpoint import MODEL
    from cbalign.engine.run import locate_checkpoint
    from cbalign.runtime.session import Session

    if isinstance(model, Session):
        return identity_of(model)
    _, checkpoint = locate_checkpoint(path)
    with open(checkpoint / MODEL, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
