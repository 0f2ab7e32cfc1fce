"""Find the first tensor where an exported graph differs from its source.

A float32 graph is compared with the PyTorch model, module by module: its nodes are marked with the module that they
are the output of. A graph of another precision is compared with the float32 graph, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from cbalign.data.arrays import FloatArray
from cbalign.exporting.graph import MODULE
from cbalign.exporting.parity import Feed, Measure
from cbalign.runtime.signatures import Signature


def diverges_from_torch(
    module: nn.Module, path: Path, signature: Signature, feed: Feed, measure: Measure, limit: float
) -> str | None:
    """Describe the first tensor of a float32 graph that differs from its module's output; None if none differs.

    None may also mean that only the unmodified graph is wrong: onnxruntime fuses fewer nodes when inner tensors are
    outputs.
    """
    modules = _modules(path)
    found = _onnx_tensors(path, signature, feed, list(modules))
    expected = _torch_tensors(module, feed)
    for name, owner in modules.items():
        if name in found and owner in expected and not (error := measure(found[name], expected[owner])) <= limit:
            return f"{name} of the {path.stem} graph, the output of {owner} (off by {error:.2g})"
    return None


def diverges_from_float(
    original: Path, path: Path, signature: Signature, feed: Feed, measure: Measure, limit: float
) -> str | None:
    """Describe the first tensor of a graph that differs from the float32 graph `original`; None if none differs."""
    modules = _modules(original)
    names = [name for node in onnx.load(original, load_external_data=False).graph.node for name in node.output]
    present = {name for node in onnx.load(path, load_external_data=False).graph.node for name in node.output}
    names = [name for name in names if name in present]
    expected, found = (_onnx_tensors(each, signature, feed, names) for each in (original, path))
    for name in names:
        if name not in found or name not in expected:
            continue
        if not (error := measure(found[name], expected[name])) <= limit:
            owner = f", the output of {modules[name]}" if name in modules else ""
            return f"{name} of the {path.stem} graph{owner} (off by {error:.2g})"
    return None


def _modules(path: Path) -> dict[str, str]:
    """Map tensors of a graph to the modules that output them, in the order of computation."""
    return {
        node.output[0]: entry.value
        for node in onnx.load(path, load_external_data=False).graph.node
        for entry in node.metadata_props
        if entry.key == MODULE
    }


def _onnx_tensors(path: Path, signature: Signature, feed: Feed, names: Sequence[str]) -> dict[str, FloatArray]:
    """Compute the floating-point tensors of a graph, by name; empty if the graph cannot run."""
    if not names:
        return {}
    model = onnx.load(path, load_external_data=False)
    given = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in given)
    opened = path.with_name(f".opened-{path.name}")  # in the same folder, which may hold its weights
    try:
        onnx.save(model, opened)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(opened), options, providers=["CPUExecutionProvider"])
        values = session.run(list(names), dict(zip(signature.input_names, feed, strict=True)))
    except Exception:  # onnxruntime's exceptions share no base class
        return {}
    finally:
        opened.unlink(missing_ok=True)
    return {
        name: value.astype(np.float32) for name, value in zip(names, values, strict=True) if value.dtype.kind == "f"
    }


@torch.inference_mode()
def _torch_tensors(module: nn.Module, feed: Feed) -> Mapping[str, FloatArray]:
    """Record the output of each module at its first call, by name."""
    seen: dict[str, FloatArray] = {}

    def watch(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            seen.setdefault(name, output.float().cpu().numpy())

    handles = [
        part.register_forward_hook(lambda _, __, output, name=name: watch(name, output))
        for name, part in module.named_modules()
    ]
    try:
        module(*(torch.from_numpy(value) for value in feed))
    finally:
        for handle in handles:
            handle.remove()
    return seen
