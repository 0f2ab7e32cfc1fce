"""On which device onnxruntime runs: asked for, found, and proven node by node.

onnxruntime falls back to the CPU without an exception. So a device that is asked for by name is checked three times:
that a GPU and its libraries are there, that the session has the provider, and that no node with real work was put
elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import onnxruntime

from cbalign.errors import DeviceError, UsageError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
Provider: TypeAlias = str | tuple[str, dict[str, str]]

# onnxruntime computes shapes on the CPU on purpose; these operators are the work that must be where it was asked for.
_WORK = frozenset(
    {
        *("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger", "QLinearMatMul", "Conv", "FusedConv"),
        *("Attention", "MultiHeadAttention", "Softmax", "LayerNormalization", "SkipLayerNormalization"),
    }
)
_INSTALL = "Install the CUDA libraries with: pip install 'cbalign[gpu]', or use --device cpu."


@dataclass(frozen=True)
class Device:
    """Where to run: `cpu`, or `cuda` with the number of a GPU."""

    kind: str
    index: int = 0

    @property
    def provider(self) -> str:
        """The execution provider that must be there."""
        return CUDA if self.kind == "cuda" else CPU

    def providers(self) -> list[Provider]:
        """What a session is created with. TF32 is off: float32 means float32."""
        if self.kind == "cpu":
            return [CPU]
        return [(CUDA, {"device_id": str(self.index), "use_tf32": "0"}), CPU]


@dataclass(frozen=True)
class Placement:
    """Operators of one graph by the provider that runs them, with counts."""

    graph: str
    operators: Mapping[str, Mapping[str, int]]

    @property
    def nodes(self) -> dict[str, int]:
        """Number of nodes per provider."""
        return {provider: sum(counts.values()) for provider, counts in self.operators.items()}

    def misplaced(self, device: Device) -> dict[str, int]:
        """Operators with real work that do not run on `device`."""
        found: Counter[str] = Counter()
        for provider, counts in self.operators.items():
            if provider != device.provider:
                found.update({name: count for name, count in counts.items() if name in _WORK})
        return dict(found)

    @classmethod
    def of(cls, graph: str, session: onnxruntime.InferenceSession) -> Placement:
        """Read it from a session that was told to record it."""
        operators: dict[str, Counter[str]] = {}
        for part in session.get_provider_graph_assignment_info():
            counts = operators.setdefault(part.ep_name, Counter())
            counts.update(node.op_type for node in part.get_nodes())
        return cls(graph, MappingProxyType({name: dict(counts) for name, counts in operators.items()}))


def find_device(asked: str) -> Device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:1` names on this machine; `auto` is a GPU if one works.

    Raises:
        UsageError: it is none of these.
        DeviceError: a GPU was asked for and is not there, or its libraries are not.
    """
    kind, _, number = asked.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdecimal())):
        raise UsageError(f"no device {asked!r}", remedy="Choose auto, cpu, cuda or cuda:N.")
    if kind == "cpu":
        return Device("cpu")
    device = Device("cuda", int(number or 0))
    problem = _cuda_problem(device.index)
    if problem is None:
        return device
    if kind == "auto":
        return Device("cpu")
    raise DeviceError(f"{asked} was asked for, but {problem.message}", remedy=problem.remedy)


def check_placement(placement: Placement, providers: list[str], device: Device) -> None:
    """Refuse a session that does not run where it was asked to.

    Raises:
        DeviceError: with the operators that would run elsewhere.
    """
    if device.provider not in providers:
        raise DeviceError(
            f"onnxruntime could not use {device.provider} for the {placement.graph} graph and would run it on the CPU",
            remedy=_INSTALL,
        )
    misplaced = placement.misplaced(device)
    if misplaced:
        listed = ", ".join(f"{count} {name}" for name, count in sorted(misplaced.items()))
        raise DeviceError(
            f"{device.provider} does not run all of the {placement.graph} graph: {listed} would run elsewhere",
            remedy="Update onnxruntime-gpu, export with a lower `export.opset`, or use --device cpu.",
        )


def quiet() -> None:
    """Keep onnxruntime's own log off stderr: what matters of it becomes an exception with a remedy."""
    onnxruntime.set_default_logger_severity(4)


@dataclass(frozen=True)
class _Problem:
    message: str
    remedy: str


def _cuda_problem(index: int) -> _Problem | None:
    if CUDA not in onnxruntime.get_available_providers():
        return _Problem(
            "the installed onnxruntime has no CUDA provider",
            "Replace the package onnxruntime by onnxruntime-gpu: both together overwrite each other's files.",
        )
    count = _nvidia_gpus()
    if index >= count:
        found = "no NVIDIA GPU with a driver was found" if count == 0 else f"only {count} GPUs were found"
        return _Problem(found, "Use --device cpu, or check `nvidia-smi`.")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls()
    missing = [line for line in said.getvalue().splitlines() if line.startswith("Failed to load")]
    return _Problem(f"its libraries do not load ({missing[0]})", _INSTALL) if missing else None


def _nvidia_gpus() -> int:
    """How many GPUs the driver has; asking it is much faster than letting onnxruntime try."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value
