"""Number formats of exported graphs."""

from __future__ import annotations

from cbalign.parts import PrecisionSection
from cbalign.parts.exports import ParityLimits


class Float32(PrecisionSection):
    """float32, the training precision of the weights."""

    name = "fp32"
    builds = "cbalign.exporting.precision:write_float32"
    tensorrt = "FP32"
    purpose = "everywhere"
    tolerance = 1e-3
    limits = ParityLimits("difference", tokens=1e-4, embedding=1e-4, scores=1e-3, codes=0.005, recall=0.3)


class Float16(PrecisionSection):
    """float16 products; softmax, norms and codes in float32."""

    name = "fp16"
    builds = "cbalign.exporting.precision:write_half"
    tensorrt = "FP16"
    purpose = "GPUs; matrix products in float16, softmax, norms and codes in float32"
    tolerance = 1e-2
    limits = ParityLimits("distance", tokens=0.02, embedding=0.01, scores=0.03, codes=0.02, recall=0.5)


class BFloat16(PrecisionSection):
    """bfloat16 products; softmax, norms and codes in float32."""

    name = "bf16"
    builds = "cbalign.exporting.precision:write_half"
    requires = "cbalign.exporting.precision:require_bfloat16"
    purpose = "GPUs; matrix products in bfloat16, softmax, norms and codes in float32"
    tolerance = 5e-2
    limits = ParityLimits("distance", tokens=0.1, embedding=0.05, scores=0.15, codes=0.1, recall=1.0)


class Int8(PrecisionSection):
    """int8 weights of matrix products, activations quantised dynamically.

    The tolerances are wide: outliers of a text tower change the worst token by 0.4 without any loss of recall. A broken
    graph differs by 1 or more, which exceeds them. The task metric shows whether a model tolerates int8.
    """

    name = "int8"
    builds = "cbalign.exporting.precision:write_int8"
    device = "cpu"
    caveat = "int8 has one scale for the activations of a batch: an item's vector changes slightly with its neighbours."
    purpose = "CPUs, best with VNNI or similar; weights of matrix products in int8, codes in float32"
    tolerance = 5e-2
    limits = ParityLimits("distance", tokens=0.6, embedding=0.25, scores=0.3, codes=0.15, recall=1.0)
