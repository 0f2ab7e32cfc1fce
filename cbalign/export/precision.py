"""From a float32 graph as it was exported to the file of one precision, with the same inputs and outputs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from cbalign.errors import DeviceError
from cbalign.experiment.export import Precision
from cbalign.export.graph import INLINE_LIMIT, save_graph
from cbalign.export.half import to_half
from cbalign.export.widen import widen_hidden
from cbalign.runtime.placement import find_device, quiet

KEPT = frozenset({"codebook"})
"""Graphs that are float32 in every precision: near ties between codes would fall the other way, for few bytes."""

_BF16_PROBE = """<ir_version: 10, opset_import: ["" : 20]>
product (bfloat16[m,n] a, bfloat16[n,k] b) => (bfloat16[m,k] c) { c = MatMul (a, b) }"""


def require_precision(precision: Precision) -> None:
    """Refuse a precision that nothing here can run, and so nothing here can prove.

    Raises:
        DeviceError: no provider of the installed onnxruntime multiplies in bfloat16 on this machine.
    """
    if precision != "bf16":
        return
    quiet()
    device = find_device("auto")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        model = onnx.parser.parse_model(_BF16_PROBE).SerializeToString()
        onnxruntime.InferenceSession(model, options, providers=device.providers())
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise DeviceError(
            f"bf16 graphs cannot run here: onnxruntime {onnxruntime.__version__} has no bfloat16 product on "
            f"{device.provider}, so they could not be compared with PyTorch",
            remedy="Use fp16 in export.precisions, or export on a machine with a GPU that computes in bfloat16.",
        ) from error


def write_precision(
    precision: Precision,
    original: Path,
    path: Path,
    facts: Mapping[str, str],
    inline_limit: int = INLINE_LIMIT,
) -> None:
    """Write a float32 graph, as it was exported, in one precision.

    Args:
        precision: which; fp32 is made faster on CPUs.
        original: the float32 graph; another file than `path`.
        path: of the new file; weights too large for it go to `<path>.data`.
        facts: metadata of the file.
        inline_limit: most bytes of weights within the file.
    """
    if original.stem in KEPT:
        shutil.copyfile(original, path)
        weights = original.with_name(f"{original.name}.data")
        if weights.exists():
            shutil.copyfile(weights, path.with_name(weights.name))
        return
    if precision == "int8":
        model = _quantised(original)
    else:
        model = ir.load(original)
        if precision == "fp32":
            widen_hidden(model)
        else:
            to_half(model, precision)
    save_graph(model, path, facts, inline_limit)


def _quantised(path: Path) -> ir.Model:
    """Weights of matrix products as int8, a scale per column; activations are quantised as they come.

    Products of activations, and the small maps onto the joint space and the match score, stay in float32.
    """
    model = onnx.load(path)
    # The exporter's shapes do not survive the quantiser's own inference; it finds what it needs by itself.
    del model.graph.value_info[:]
    # It also turns each Gemm into a product and a sum before it looks for products.
    maps = [f"{node.name}_MatMul" for node in model.graph.node if node.op_type == "Gemm"]
    entry = model.metadata_props.add()
    entry.key, entry.value = "onnx.quant.pre_process", "onnxruntime.quant"  # or it recommends what was just done
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / path.name
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=maps,
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
            use_external_data_format=True,
        )
        quantised = ir.load(target)
        ir.external_data.load_to_model(quantised)
    return quantised
