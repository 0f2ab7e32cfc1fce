"""Convert a float32 graph to the precision of a section, with the same inputs and outputs."""

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
from cbalign.exporting.graph import INLINE_LIMIT, save_graph
from cbalign.exporting.half import to_half
from cbalign.exporting.widen import widen_hidden
from cbalign.parts import PrecisionSection
from cbalign.parts.part import call_part
from cbalign.parts.results import require_built
from cbalign.runtime.placement import find_device, quiet

FLOAT32_GRAPHS = frozenset({"codebook"})
"""Small graphs that stay float32 in every precision: rounding would change codes that are nearly tied."""

_BF16_PROBE = """<ir_version: 10, opset_import: ["" : 20]>
product (bfloat16[m,n] a, bfloat16[n,k] b) => (bfloat16[m,k] c) { c = MatMul (a, b) }"""


def require_precision(precision: PrecisionSection) -> None:
    """Require that this machine can run a precision; otherwise its graphs could not be checked.

    Raises:
        DeviceError: raised by the precision's `requires`.
    """
    if precision.requires is not None:
        call_part(type(precision), precision.requires, precision)


def write_precision(
    precision: PrecisionSection,
    original: Path,
    path: Path,
    metadata: Mapping[str, str],
    inline_limit: int = INLINE_LIMIT,
) -> None:
    """Convert an exported float32 graph to a precision and save it.

    Args:
        precision: the target precision.
        original: the float32 graph; must differ from `path`.
        path: the new file; weights larger than `inline_limit` go to `<path>.data`.
        metadata: metadata of the file.
        inline_limit: maximum bytes of weights within the file.

    Raises:
        PartError: the precision's builder does not return a graph.
    """
    if original.stem in FLOAT32_GRAPHS:
        shutil.copyfile(original, path)
        weights = original.with_name(f"{original.name}.data")
        if weights.exists():
            shutil.copyfile(weights, path.with_name(weights.name))
        return
    model = precision.build(original)
    require_built(precision, model, ir.Model)
    save_graph(model, path, metadata, inline_limit)


def write_float32(section: PrecisionSection, original: Path) -> ir.Model:
    """Load the float32 graph and pad its hidden layers for CPU caches."""
    model = ir.load(original)
    widen_hidden(model)
    return model


def write_half(section: PrecisionSection, original: Path) -> ir.Model:
    """Convert the graph to float16 or bfloat16, whichever the section is."""
    model = ir.load(original)
    to_half(model, section.name)
    return model


def write_int8(section: PrecisionSection, original: Path) -> ir.Model:
    """Quantise the weights of matrix products to int8 with a scale per column; activations are quantised dynamically.

    Products of activations, and the small projections to the joint space and the match score, stay in float32.
    """
    model = onnx.load(original)
    # The exporter's shapes break the quantiser's shape inference, which does not need them.
    del model.graph.value_info[:]
    # The quantiser replaces each Gemm by a product and a sum before it searches for products.
    maps = [f"{node.name}_MatMul" for node in model.graph.node if node.op_type == "Gemm"]
    entry = model.metadata_props.add()
    entry.key, entry.value = "onnx.quant.pre_process", "onnxruntime.quant"  # silences a hint to preprocess
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / original.name
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


def require_bfloat16(section: PrecisionSection) -> None:
    """Require a bfloat16 matrix product in onnxruntime.

    Raises:
        DeviceError: the installed onnxruntime has no bfloat16 matrix product on this machine.
    """
    quiet()
    device = find_device("auto")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        model = onnx.parser.parse_model(_BF16_PROBE).SerializeToString()
        onnxruntime.InferenceSession(model, options, providers=device.providers())
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise DeviceError(
            f"{section.name} graphs cannot run on this machine: onnxruntime {onnxruntime.__version__} has no bfloat16 "
            f"matrix product on {device.provider}, so they could not be compared with PyTorch",
            remedy="Use fp16 in export.precisions, or export on a machine with a GPU that supports bfloat16.",
        ) from error
