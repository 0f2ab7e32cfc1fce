"""Record and check the outputs for a few real inputs, to verify a bundle on any machine.

`golden.npz` contains `pixels`, `texts`, and the outputs of each precision under names such as `int8.score`. The fp32
outputs come from the trained model, those of other precisions from onnxruntime on the machine of the export.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import FloatArray, PixelArray
from cbalign.errors import BundleError, ParityError
from cbalign.runtime.bundle import GOLDEN
from cbalign.runtime.bundle_files import bounded
from cbalign.runtime.precisions import precision_section
from cbalign.runtime.session import Session
from cbalign.runtime.task import task_runtime

_LARGEST = 1 << 30  # bytes of all arrays; sixteen images and their outputs take a few megabytes


def write_golden(
    outputs: Mapping[str, Mapping[str, FloatArray]], pixels: PixelArray, texts: Sequence[str], path: Path
) -> None:
    """Record the outputs by precision, and their inputs: prepared images (B, …, H, W, 3) and as many texts."""
    named = {f"{precision}.{name}": values for precision, each in outputs.items() for name, values in each.items()}
    np.savez_compressed(path, pixels=pixels, texts=np.array(texts), **named)  # type: ignore[arg-type]


def check_golden(session: Session) -> dict[str, float]:
    """Repeat the recorded computation and return the relative difference of each output.

    Raises:
        BundleError: the recording is missing or damaged, or lacks the session's precision, or that precision is not
            installed.
        ParityError: an output differs by more than the precision's tolerance.
    """
    if GOLDEN not in session.bundle.manifest.files:
        raise BundleError(f"{session.bundle.folder} has no {GOLDEN}", remedy="Export it again with `cbalign export`.")
    allowed = precision_section(session.precision, session.bundle.manifest.plugins).tolerance
    pixels, texts, recorded = read_golden(session.bundle.folder / GOLDEN, session.precision)
    runtime = task_runtime(session.bundle.task)
    found = runtime.golden_outputs(runtime.open(session), pixels, texts)
    differences = {}
    for name, expected in recorded.items():
        same_shape = name in found and found[name].shape == expected.shape
        scale = max(1.0, float(np.abs(expected).max()))
        differences[name] = float(np.abs(found[name] - expected).max()) / scale if same_shape else float("inf")
    wrong = [name for name, difference in differences.items() if not difference <= allowed]
    if wrong:
        raise ParityError(
            f"{session.bundle.folder}: outputs of {session.precision} differ from the recorded ones: "
            f"{', '.join(wrong)} (off by {differences[wrong[0]]:.2g}, at most {allowed:g} is allowed)",
            remedy='Try `device="cpu"`, or a different version of onnxruntime.',
        )
    return differences


def read_golden(path: Path, precision: str) -> tuple[PixelArray, list[str], dict[str, FloatArray]]:
    """Read pixels, texts and one precision's outputs, without loading pickled data.

    Raises:
        BundleError: the file is damaged or lacks the precision.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (size := sum(member.file_size for member in archive.infolist())) > _LARGEST:
                raise ValueError(f"it holds {size:,} bytes")
        with np.load(path, allow_pickle=False) as file:
            pixels, texts = file["pixels"], file["texts"]
            prefix = f"{precision}."
            outputs = {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}
        _check(pixels, texts, outputs, precision)
    # A damaged archive can raise anything that zlib, zipfile and numpy's parser of headers raise.
    except Exception as error:
        reason = bounded(" ".join(str(error).split()) or type(error).__name__)
        raise BundleError(f"{path}: cannot be read ({reason})", remedy="Copy the bundle again.") from error
    return pixels, [str(text) for text in texts], outputs


# The arrays of an untrusted file have any type.
def _check(pixels: NDArray, texts: NDArray, outputs: Mapping[str, NDArray], precision: str) -> None:  # type: ignore[type-arg]
    """Raise ValueError unless these are prepared images, as many texts, and outputs for all of them."""
    if pixels.dtype != np.uint8 or pixels.ndim < 4 or not pixels.size:
        raise ValueError(f"its pixels are {pixels.dtype} of shape {pixels.shape}, expected uint8 (B, …, H, W, 3)")
    if texts.ndim != 1 or texts.dtype.kind != "U" or len(texts) != len(pixels):
        raise ValueError(f"its texts are {texts.dtype} of shape {texts.shape}, expected {len(pixels)} texts")
    if not outputs:
        raise ValueError(f"it has no outputs of {precision}")
    for name, values in outputs.items():
        if values.dtype.kind not in "fiu" or not values.size:
            raise ValueError(f"its output {bounded(name)} is {values.dtype} of shape {values.shape}, expected numbers")
