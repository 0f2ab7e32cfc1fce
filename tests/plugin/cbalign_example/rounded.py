"""Graphs whose weights are rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir

from cbalign_example.sections import RoundedPrecision


def round_weights(section: RoundedPrecision, original: Path) -> onnx_ir.Model:
    """Round the float32 weights of a graph to 16 bits, the upper half of a float32 (bfloat16)."""
    model = onnx_ir.load(original)
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.dtype == onnx_ir.DataType.FLOAT:
            bits = np.array(value.const_value.numpy(), order="C").view(np.uint32)
            upper = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
            value.const_value = onnx_ir.tensor(upper.view(np.float32), name=value.name)
    return model
