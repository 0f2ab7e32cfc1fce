"""Export one `nn.Module` to one ONNX file: with its signature's dynamic dimensions, without build-machine details."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, DeduplicateInitializersPass, RemoveUnusedOpsetsPass
from torch import Tensor, nn

from cbalign import __version__
from cbalign.errors import CbalignError, ParityError
from cbalign.exporting.heads import fold_heads
from cbalign.runtime.signatures import Signature

INLINE_LIMIT = 1_500_000_000
"""Larger weights (in bytes) are stored in one file next to the graph: a protobuf message cannot exceed 2 GiB."""

MODULE = "cbalign.module"
"""Metadata key of a node; the value names the module whose output is the node's first output, such as
`towers.text.layers.1.attention`."""

_SCOPES = "pkg.torch.onnx.name_scopes"


def write_graph(
    module: nn.Module,
    signature: Signature,
    example: tuple[Tensor, ...],
    path: Path,
    *,
    opset: int,
    metadata: Mapping[str, str],
    inline_limit: int = INLINE_LIMIT,
) -> None:
    """Export a module to `path`; weights larger than `inline_limit` go to `<path>.data`.

    Args:
        module: module to export, on the CPU and in evaluation mode.
        signature: names and varying dimensions of inputs and outputs.
        example: inputs; each varying dimension is at least 2, or the exporter would treat it as a constant.
        path: the `.onnx` file.
        opset: ONNX operator set.
        metadata: metadata of the file.
        inline_limit: maximum bytes of weights within the file.

    Raises:
        CbalignError: the module cannot be exported with this opset.
        ParityError: a dimension that should vary was fixed.
    """
    try:
        with _silence():
            program = torch.onnx.export(
                module,
                example,
                dynamic_shapes=_dynamic_shapes(signature),
                opset_version=opset,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter's own, torch's and onnxscript's
        reason = " ".join(str(error).split())[:500]
        raise CbalignError(
            f"the {path.stem} graph cannot be exported with opset {opset} ({reason})",
            remedy="Set export.opset: auto, or update torch, onnx and onnxscript.",
        ) from error
    assert program is not None
    model = program.model
    _check_dynamic(model, signature, path.stem)
    fold_heads(model)
    _clean(model, {name for name, _ in module.named_modules()})
    _name_ports(model, signature)
    model.graph.name = path.stem
    save_graph(model, path, metadata, inline_limit)


def save_graph(model: ir.Model, path: Path, metadata: Mapping[str, str], inline_limit: int = INLINE_LIMIT) -> None:
    """Write a graph with metadata; weights of more than `inline_limit` bytes go to one file next to it."""
    model.producer_name = "cbalign"
    model.producer_version = __version__
    model.metadata_props.clear()
    model.metadata_props.update(metadata)
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    ir.save(model, path, external_data=f"{path.name}.data" if weights > inline_limit else None)


def _dynamic_shapes(signature: Signature) -> tuple[dict[int, torch.export.Dim], ...]:
    names = {name for port in signature.inputs for name in port.shape if name is not None}
    dims = {name: torch.export.Dim(name) for name in names}
    return tuple({i: dims[name] for i, name in enumerate(port.shape) if name is not None} for port in signature.inputs)


def _check_dynamic(model: ir.Model, signature: Signature, graph: str) -> None:
    for value, port in zip((*model.graph.inputs, *model.graph.outputs), (*signature.inputs, *signature.outputs)):
        assert value.shape is not None
        for axis, name in enumerate(port.shape):
            if name is not None and isinstance(value.shape[axis], int):
                raise ParityError(
                    f"the {graph} graph fixes the dimension {name} of {port.name} at {value.shape[axis]}",
                    remedy="The model's code depends on the size of its input. Please report this bug.",
                )


def _name_ports(model: ir.Model, signature: Signature) -> None:
    """Rename inputs and outputs; torch's own option does not check whether an inner value has the same name."""
    ports = (*model.graph.inputs, *model.graph.outputs)
    taken = {*signature.input_names, *signature.output_names}
    inner = (value for node in model.graph.all_nodes() for value in node.outputs)
    for value in (*inner, *model.graph.initializers.values(), *ports):
        if value.name in taken:
            value.name = f"{value.name}_"
    for value, port in zip(ports, (*signature.inputs, *signature.outputs)):
        value.name = port.name


def _clean(model: ir.Model, modules: Set[str]) -> None:
    """Remove stack traces, source paths and duplicate weights; keep which nodes output which modules' outputs."""
    outputs = _module_outputs(model, modules)
    ClearMetadataAndDocStringPass()(model)
    for module, node in outputs.items():
        node.metadata_props[MODULE] = module
    DeduplicateInitializersPass()(model)
    RemoveUnusedOpsetsPass()(model)
    model.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def _module_outputs(model: ir.Model, modules: Set[str]) -> dict[str, ir.Node]:
    """Return the last node of each module, from the exporter's scopes: `['', 'towers', 'towers.text', 'linear']`.

    If nested modules end in the same node, the node is named after the innermost module.
    """
    last: dict[str, ir.Node] = {}
    for node in model.graph:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        last.update({scope: node for scope in scopes if scope and scope in modules})
    innermost = {node: module for module, node in sorted(last.items(), key=lambda item: item[0].count("."))}
    return {module: node for node, module in innermost.items()}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress the exporter's progress messages and internal warnings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
