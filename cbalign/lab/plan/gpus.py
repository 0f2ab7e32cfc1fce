"""The GPUs that `cbalign plan` supports, with the numbers of their data sheets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cbalign.errors import UsageError

GIB = 2**30
RESERVED = 0.05  # fraction of the memory lost to fragmentation and rounding; assumed, not measured
CONTEXT = GIB // 2  # used by CUDA and its libraries
UTILISATION = (
    0.35  # fraction of the peak that transformer training reaches without waiting for data; assumed, not measured
)


@dataclass(frozen=True)
class GPU:
    """One model of GPU. Speeds are dense, in floating-point operations per second."""

    name: str
    memory: int  # bytes
    bf16: float  # matrix products in bfloat16 that accumulate in float32
    fp32: float  # exact float32: cbalign does not use TF32

    @property
    def usable(self) -> int:
        """Bytes of memory available to a training."""
        return round(self.memory * (1 - RESERVED)) - CONTEXT

    def hours(self, operations: float, precision: Literal["fp32", "bf16"]) -> float:
        """Estimate the hours for a number of operations at `UTILISATION` of the peak."""
        return operations / (UTILISATION * (self.bf16 if precision == "bf16" else self.fp32)) / 3600


# From NVIDIA's data sheets; numbers with sparsity are halved.
GPUS = {
    gpu.name: gpu
    for gpu in (
        GPU("rtx-3090", 24 * GIB, bf16=71e12, fp32=35.6e12),
        GPU("rtx-4090", 24 * GIB, bf16=165e12, fp32=82.6e12),
        GPU("l4", 24 * GIB, bf16=121e12, fp32=30.3e12),
        GPU("l40s", 48 * GIB, bf16=362e12, fp32=91.6e12),
        GPU("a100-40gb", 40 * GIB, bf16=312e12, fp32=19.5e12),
        GPU("a100-80gb", 80 * GIB, bf16=312e12, fp32=19.5e12),
        GPU("h100-80gb", 80 * GIB, bf16=989e12, fp32=67e12),
        GPU("h200-141gb", 141 * 10**9, bf16=989e12, fp32=67e12),
        GPU("b200-180gb", 180 * 10**9, bf16=2250e12, fp32=75e12),
    )
}


def gpu_named(name: str) -> GPU:
    """Return a GPU by name.

    Raises:
        UsageError: the GPU is unknown.
    """
    found = GPUS.get(name.lower())
    if found is None:
        raise UsageError(f"Unknown GPU {name!r}.", remedy=f"Choose one of {', '.join(GPUS)}.")
    return found
