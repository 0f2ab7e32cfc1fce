"""Write a Triton model repository of a bundle: one model per graph, for the onnxruntime backend with TensorRT.

<repository>/
  <name>_image/    config.pbtxt  preprocessing.json  1/model.onnx
  <name>_text/     config.pbtxt  tokenizer.json  text.json  1/model.onnx
  <name>_codebook/ config.pbtxt  1/model.onnx
  <name>_match/    config.pbtxt  1/model.onnx

Triton concatenates requests along the first dimension. The `image_index` of the match graph refers to images of one
request, so that graph is served without batching; all other graphs use dynamic batching.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from cbalign.data.text import SETTINGS_FILE, TOKENIZER_FILE, Tokenizer
from cbalign.exporting.sections.targets import TritonTarget
from cbalign.runtime.bundle import PREPROCESSING, BundleFolder
from cbalign.runtime.precisions import find_precision
from cbalign.runtime.signatures import Port, Signature
from cbalign.runtime.tensorrt import HALF, graph_shapes, kept_engines, size_ranges

_TYPES = {"uint8": "TYPE_UINT8", "int64": "TYPE_INT64", "float32": "TYPE_FP32"}
_BESIDE = {"image": (PREPROCESSING,), "text": (TOKENIZER_FILE, SETTINGS_FILE)}
_FASTEST = (HALF, "FP32")
"""TensorRT's precisions, fastest first."""
_MAX_BATCH, _PREFERRED, _MAX_PAIRS = 64, (8, 16, 32), 256
_DELAY_MICROSECONDS = 2000
_QUEUE = 256
_WORKSPACE = 4 << 30  # bytes of GPU memory that TensorRT may use while it runs


def write_model_repository(section: TritonTarget, bundle: Path, repository: Path) -> None:
    """Write a bundle's model repository to an empty folder.

    Args:
        section: the target; its `precision` selects the graphs.
        bundle: folder of the bundle; its files are verified.
        repository: the empty folder.

    Raises:
        BundleError: the bundle is damaged.
        UsageError: the bundle does not embed images and texts, or lacks the precision.
    """
    opened = BundleFolder.open(bundle).require_alignment()
    chosen = section.precision or _fastest(opened.manifest.precisions)
    opened.graph_path(chosen, "image")
    opened.verify(opened.names_of(chosen))
    for graph in opened.manifest.graphs:
        name = f"{re.sub('[^A-Za-z0-9_.-]', '_', opened.manifest.name)}_{graph}"
        _write_model(opened, chosen, graph, repository / name)


def _fastest(precisions: Sequence[str]) -> str:
    """Return the precision that TensorRT runs fastest, or the first if it runs none."""
    return next((name for mode in _FASTEST for name in precisions if _tensorrt_mode(name) == mode), precisions[0])


def _tensorrt_mode(precision: str) -> str | None:
    section = find_precision(precision)
    return section.tensorrt if section is not None else None


def _write_model(bundle: BundleFolder, precision: str, graph: str, folder: Path) -> None:
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
    config = model_config(folder.name, bundle.signatures[graph], precision, graph_shapes(path), longest_text, content)
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")


def model_config(
    name: str,
    signature: Signature,
    precision: str,
    shapes: dict[str, list[int | str]],
    longest_text: int,
    content: str,
) -> str:
    """Return the `config.pbtxt` of one graph (Triton's ModelConfig as protobuf text).

    Args:
        name: name of the model; Triton requires the name of its folder.
        signature: inputs and outputs of the graph.
        precision: precision of the weights.
        shapes: shapes of all inputs and outputs in the ONNX file; a varying dimension is a string.
        longest_text: maximum text length in tokens.
        content: hash of the weights, in letters and digits.
    """
    batched = signature.is_batched
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
    section = find_precision(precision)
    on_cpu = section is not None and section.device == "cpu"
    blocks.append(f"instance_group [ {{ count: 1 kind: {'KIND_CPU' if on_cpu else 'KIND_GPU'} }} ]")
    if (mode := _tensorrt_mode(precision)) is not None:
        cache = f"/tmp/{name}-{content}-tensorrt"
        blocks.append(_accelerator(cache, mode, _profiles(signature.inputs, shapes, longest_text)))
    blocks.append(f'parameters {{ key: "cbalign.precision" value {{ string_value: "{precision}" }} }}')
    return "\n".join(blocks) + "\n"


def _tensor(kind: str, port: Port, shape: Sequence[int | str], batched: bool) -> str:
    dims = [size if isinstance(size, int) else -1 for size in (shape[1:] if batched else shape)]
    reshape = "" if dims else "\n  reshape { shape: [ ] }"  # Triton requires a dimension besides the batch
    listed = ", ".join(map(str, dims or [1]))
    return f'{kind} {{\n  name: "{port.name}"\n  data_type: {_TYPES[port.dtype]}\n  dims: [ {listed} ]{reshape}\n}}'


def _accelerator(cache: str, mode: str, profiles: dict[str, str]) -> str:
    """Configure TensorRT in onnxruntime, with cached engines, so that a restart does not rebuild them."""
    parameters = {
        "precision_mode": mode,
        "max_workspace_size_bytes": str(_WORKSPACE),
        **kept_engines(cache, half=mode == HALF),
        **profiles,
    }
    lines = "\n".join(f'      parameters {{ key: "{key}" value: "{value}" }}' for key, value in parameters.items())
    accelerator = f'    gpu_execution_accelerator {{\n      name: "tensorrt"\n{lines}\n    }}'
    return f"optimization {{\n  execution_accelerators {{\n{accelerator}\n  }}\n}}"


def _profiles(inputs: Sequence[Port], shapes: dict[str, list[int | str]], longest_text: int) -> dict[str, str]:
    """Return the size ranges of TensorRT engines; without them, TensorRT builds a new engine for every new size."""
    longest = {"batch": _MAX_BATCH, "images": _MAX_BATCH, "texts": _MAX_PAIRS, "length": longest_text}
    usual = {"batch": _PREFERRED[0], "images": _PREFERRED[0], "texts": _PREFERRED[0], "length": 16}
    return size_ranges(inputs, shapes, longest, usual)
