"""TensorRT in onnxruntime: its libraries, the sizes that its engines are built for, and where they are kept.

Building an engine takes minutes. It is kept for the graph's weights, the versions of onnxruntime and TensorRT, and the
range of sizes, so that the next start loads it.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from cbalign.errors import BundleError, StorageError
from cbalign.runtime.machine import installed
from cbalign.runtime.signatures import Port
from cbalign.runtime.user_cache import user_cache

MAJOR = 10
"""The major version of TensorRT that onnxruntime is linked to."""

HALF = "FP16"
"""TensorRT's name of half precision."""

INSTALL = "Install it with: pip install 'cbalign[tensorrt]', or use `device=\"cuda\"`."
_PACKAGES = ("tensorrt-cu13-libs", "tensorrt-cu12-libs", "tensorrt-libs")
_FOLDER = "tensorrt_libs"
_LIBRARIES = ("nvinfer", "nvonnxparser")


@dataclass(frozen=True)
class EngineOptions:
    """How TensorRT builds and keeps engines.

    Attributes:
        cache: folder of the engines; defaults to the user's cache folder.
        usual_batch, usual_length: batch size and text length in tokens that an engine is optimised for. It accepts
            every size up to the session's `batch_size` and the model's longest text.
        workspace: bytes of GPU memory that TensorRT may use.
    """

    cache: str | Path | None = None
    usual_batch: int = 8
    usual_length: int = 16
    workspace: int = 4 << 30


def load_libraries() -> str | None:
    """Load TensorRT's libraries, and return the problem if there is one.

    pip installs them where the loader does not look. Once loaded here, they are found when onnxruntime asks for them.
    """
    names = [f"{name}_{MAJOR}.dll" if sys.platform == "win32" else f"lib{name}.so.{MAJOR}" for name in _LIBRARIES]
    folder = library_folder()
    for name in names:
        path = None if folder is None else folder / name
        if problem := _load(path if path is not None and path.is_file() else Path(name)):
            return _described(name, problem)
    return None


def library_folder() -> Path | None:
    """Return the folder in which pip installed TensorRT's libraries, if it did."""
    spec = importlib.util.find_spec(_FOLDER)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(places[0]) if places else None


def size_ranges(
    inputs: Sequence[Port],
    shapes: Mapping[str, Sequence[int | str]],
    longest: Mapping[str, int],
    usual: Mapping[str, int],
) -> dict[str, str]:
    """Return the options with the sizes of TensorRT engines; without them, each new size takes a new engine.

    Args:
        inputs: inputs of the graph; named dimensions vary.
        shapes: shapes of the inputs in the ONNX file.
        longest, usual: largest size, and the one to optimise for, by dimension. A graph with another varying dimension
            has no options.
    """
    if not all(name in longest for port in inputs for name in port.shape if name is not None):
        return {}

    def spell(sizes: Mapping[str, int]) -> str:
        full = {
            port.name: [size if name is None else sizes[name] for name, size in zip(port.shape, shapes[port.name])]
            for port in inputs
        }
        return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in full.items())

    return {
        "trt_profile_min_shapes": spell(dict.fromkeys(longest, 1)),
        "trt_profile_opt_shapes": spell({name: min(size, longest[name]) for name, size in usual.items()}),
        "trt_profile_max_shapes": spell(longest),
    }


def kept_engines(cache: str, *, half: bool) -> dict[str, str]:
    """Return the options that keep engines, and that let engines of half precision compute normalisation precisely.

    onnxruntime identifies an engine by the structure of its graph, not by its weights, so each set of weights needs a
    `cache` of its own.
    """
    options = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache,
    }
    return {**options, "trt_layer_norm_fp32_fallback": "1"} if half else options


def engine_options(
    path: Path,
    inputs: Sequence[Port],
    options: EngineOptions,
    *,
    content: str,
    batch_size: int,
    longest_text: int,
    half: bool,
) -> dict[str, str]:
    """Return onnxruntime's options of TensorRT for one graph, and create the folder of its engines.

    Args:
        path: the ONNX file.
        inputs: inputs of the graph.
        options: how engines are built and kept.
        content: hash of the graph's files.
        batch_size: most items of a run.
        longest_text: of the model, in tokens.
        half: whether the graph computes in half precision.

    Raises:
        BundleError: the file is not a graph.
        StorageError: the folder cannot be created.
    """
    longest = {**dict.fromkeys(("batch", "images", "texts"), batch_size), "length": longest_text}
    usual = {**dict.fromkeys(("batch", "images", "texts"), options.usual_batch), "length": options.usual_length}
    built = {
        "trt_max_workspace_size": str(options.workspace),
        **({"trt_fp16_enable": "1"} if half else {}),
        **size_ranges(inputs, graph_shapes(path), longest, usual),
    }
    versions = {"onnxruntime": onnxruntime.__version__, **installed(_PACKAGES)}
    key = hashlib.sha256(repr((content, built, versions)).encode()).hexdigest()[:24]
    folder = Path(options.cache or user_cache("tensorrt")).expanduser() / f"{path.stem}-{key}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be created ({error.strerror})", remedy="Choose another folder for TensorRT's engines."
        ) from error
    return {**built, **kept_engines(str(folder), half=half)}


def graph_shapes(path: Path) -> dict[str, list[int | str]]:
    """Return the shapes of a graph's inputs and outputs; a varying dimension is a string.

    Raises:
        BundleError: onnxruntime cannot load the file.
    """
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise BundleError(f"{path}: cannot be loaded ({' '.join(str(error).split())[:300]})") from error
    return {port.name: list(port.shape) for port in (*session.get_inputs(), *session.get_outputs())}


def _load(path: Path) -> str | None:
    try:
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error)
    return None


def _described(name: str, problem: str) -> str:
    others = [f"{package} {version}" for package, version in installed(_PACKAGES).items()]
    wrong = [each for each in others if each.rpartition(" ")[2].partition(".")[0] != str(MAJOR)]
    if wrong:
        return f"onnxruntime needs TensorRT {MAJOR} ({name}), and {' and '.join(wrong)} is installed"
    return f"TensorRT {MAJOR} does not load ({problem})"
