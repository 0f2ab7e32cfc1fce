"""A Triton model repository of a bundle: one model per graph, for the onnxruntime backend with TensorRT.

<repository>/
  <name>_image/    config.pbtxt  preprocessing.json  1/model.onnx
  <name>_text/     config.pbtxt  tokenizer.json  text.json  1/model.onnx
  <name>_codebook/ config.pbtxt  1/model.onnx
  <name>_match/    config.pbtxt  1/model.onnx

Triton joins requests along the first dimension. So the match graph, whose `image_index` counts within one request, is
served as it is, without batching; every other graph is batched dynamically.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from cbalign.data.text import SETTINGS_FILE, TOKENIZER_FILE, Tokenizer
from cbalign.engine.files import new_folder
from cbalign.errors import BundleError, UsageError
from cbalign.runtime.bundle import PREPROCESSING, Bundle
from cbalign.runtime.placement import CPU, quiet
from cbalign.runtime.signatures import SIGNATURES, Port

_TYPES = {"uint8": "TYPE_UINT8", "int64": "TYPE_INT64", "float32": "TYPE_FP32"}
_BESIDE = {"image": (PREPROCESSING,), "text": (TOKENIZER_FILE, SETTINGS_FILE)}
_UNBATCHED = "match"
_MODES = {"fp16": "FP16", "fp32": "FP32"}
"""TensorRT's precisions of ours; bf16 runs on CUDA, int8 on the CPU that it is made for."""
_MAX_BATCH, _PREFERRED, _MAX_PAIRS = 64, (8, 16, 32), 256
_DELAY_MICROSECONDS = 2000
_QUEUE = 256
_WORKSPACE = 4 << 30  # bytes of GPU memory that TensorRT may use while it runs


def write_triton(bundle: Path, repository: Path, precision: str | None = None) -> list[str]:
    """Write the repository and return the names of its models.

    Args:
        bundle: folder of the bundle; its files are verified.
        repository: folder to make.
        precision: which graphs; fp16 where the bundle has them, else fp32, when left out.

    Raises:
        BundleError: the bundle is damaged.
        UsageError: `repository` is there already, or the bundle embeds no images and texts or lacks the precision.
        StorageError: it cannot be written.
    """
    opened = Bundle.open(bundle).require_alignment()
    has = opened.manifest.precisions
    chosen = precision or next((name for name in ("fp16", "fp32") if name in has), has[0])
    opened.graph_path(chosen, "image")
    opened.verify(opened.names_of(chosen))
    require_new(repository)
    models = []
    with new_folder(repository) as folder:
        for graph in opened.manifest.graphs:
            name = f"{re.sub('[^A-Za-z0-9_.-]', '_', opened.manifest.name)}_{graph}"
            _write_model(opened, chosen, graph, folder / name)
            models.append(name)
    return models


def require_new(repository: Path) -> None:
    """Refuse a folder that is there already."""
    if repository.exists():
        raise UsageError(f"{repository} is there already", remedy="Remove it, or choose another folder for --triton.")


def _write_model(bundle: Bundle, precision: str, graph: str, folder: Path) -> None:
    path = bundle.graph_path(precision, graph)
    version = folder / "1"
    version.mkdir(parents=True)
    shutil.copyfile(path, version / "model.onnx")
    data = path.with_name(f"{path.name}.data")  # large weights; the graph names this file
    if f"{precision}/{data.name}" in bundle.manifest.files:
        shutil.copyfile(data, version / data.name)
    for name in _BESIDE.get(graph, ()):
        shutil.copyfile(bundle.folder / name, folder / name)
    longest_text = Tokenizer.load(bundle.folder).settings.max_tokens
    files = [bundle.manifest.files.get(f"{precision}/{name}") for name in (path.name, data.name)]
    content = hashlib.sha256("".join(file.sha256 for file in files if file).encode()).hexdigest()[:16]
    config = model_config(folder.name, graph, precision, _shapes(path), longest_text, content)
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")


def model_config(
    name: str, graph: str, precision: str, shapes: dict[str, list[int | str]], longest_text: int, content: str
) -> str:
    """The `config.pbtxt` of one graph (Triton's ModelConfig as protobuf text).

    Args:
        name: of the model; Triton requires it to be its folder's.
        graph: which graph it is.
        precision: of its weights.
        shapes: of every input and output as the ONNX file has them; a varying dimension is a string.
        longest_text: in tokens.
        content: another one for other weights, in letters and digits.
    """
    signature = SIGNATURES[graph]
    batched = graph != _UNBATCHED
    blocks = [
        f'name: "{name}"',
        'backend: "onnxruntime"',
        'default_model_filename: "model.onnx"',
        f"max_batch_size: {_MAX_BATCH if batched else 0}",
        *(_tensor("input", port, shapes[port.name], batched) for port in signature.inputs),
        *(_tensor("output", port, shapes[port.name], batched) for port in signature.outputs),
    ]
    if batched:
        blocks.append(
            f"dynamic_batching {{\n  preferred_batch_size: [ {', '.join(map(str, _PREFERRED))} ]\n"
            f"  max_queue_delay_microseconds: {_DELAY_MICROSECONDS}\n"
            f"  default_queue_policy {{ max_queue_size: {_QUEUE} }}\n}}"
        )
    blocks.append(f"instance_group [ {{ count: 1 kind: {'KIND_CPU' if precision == 'int8' else 'KIND_GPU'} }} ]")
    if precision in _MODES:
        cache = f"/tmp/{name}-{content}-tensorrt"
        blocks.append(_accelerator(cache, precision, _profiles(signature.inputs, shapes, longest_text)))
    blocks.append(f'parameters {{ key: "cbalign.precision" value {{ string_value: "{precision}" }} }}')
    return "\n".join(blocks) + "\n"


def _tensor(kind: str, port: Port, shape: Sequence[int | str], batched: bool) -> str:
    dims = [size if isinstance(size, int) else -1 for size in (shape[1:] if batched else shape)]
    reshape = "" if dims else "\n  reshape { shape: [ ] }"  # Triton wants a dimension beside the batch
    listed = ", ".join(map(str, dims or [1]))
    return f'{kind} {{\n  name: "{port.name}"\n  data_type: {_TYPES[port.dtype]}\n  dims: [ {listed} ]{reshape}\n}}'


def _accelerator(cache: str, precision: str, profiles: dict[str, str]) -> str:
    """TensorRT through onnxruntime; engines are kept, so that a restart does not build them again.

    onnxruntime tells engines apart by a graph's form, not by its weights: `cache` must be another folder for others.
    """
    parameters = {
        "precision_mode": _MODES[precision],
        "max_workspace_size_bytes": str(_WORKSPACE),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache,
        **({"trt_layer_norm_fp32_fallback": "1"} if precision == "fp16" else {}),
        **profiles,
    }
    lines = "\n".join(f'      parameters {{ key: "{key}" value: "{value}" }}' for key, value in parameters.items())
    accelerator = f'    gpu_execution_accelerator {{\n      name: "tensorrt"\n{lines}\n    }}'
    return f"optimization {{\n  execution_accelerators {{\n{accelerator}\n  }}\n}}"


def _profiles(inputs: Sequence[Port], shapes: dict[str, list[int | str]], longest_text: int) -> dict[str, str]:
    """The sizes that TensorRT builds engines for: all inputs together, or it builds anew at every new size."""
    longest = {"batch": _MAX_BATCH, "images": _MAX_BATCH, "texts": _MAX_PAIRS, "length": longest_text}
    usual = {"batch": _PREFERRED[0], "images": _PREFERRED[0], "texts": _PREFERRED[0], "length": min(16, longest_text)}

    def spell(sizes: dict[str, int]) -> str:
        full = {
            port.name: [sizes[name] if name else size for name, size in zip(port.shape, shapes[port.name])]
            for port in inputs
        }
        return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in full.items())

    return {
        "trt_profile_min_shapes": spell(dict.fromkeys(longest, 1)),
        "trt_profile_opt_shapes": spell(usual),
        "trt_profile_max_shapes": spell(longest),
    }


def _shapes(path: Path) -> dict[str, list[int | str]]:
    quiet()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[CPU])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise BundleError(f"{path}: cannot be loaded ({' '.join(str(error).split())[:300]})") from error
    return {port.name: list(port.shape) for port in (*session.get_inputs(), *session.get_outputs())}
