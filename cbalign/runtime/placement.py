"""Choose the device for onnxruntime and check that every node of a graph runs on it.

onnxruntime falls back to the CPU without an exception. Therefore, a device requested by name is checked three times:
the GPU and its libraries are available, the session has the provider, and all compute nodes are assigned to it. This
also applies to TensorRT: compute nodes that it leaves to CUDA are an error.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

import onnxruntime

from cbalign.errors import DeviceError, UsageError
from cbalign.runtime.machine import installed
from cbalign.runtime.precisions import REFERENCE, find_precision
from cbalign.runtime.tensorrt import INSTALL, load_libraries

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
Provider: TypeAlias = str | tuple[str, dict[str, str]]

# onnxruntime computes shapes on the CPU by design; these are the compute operators that must run on the device.
_WORK = frozenset(
    {
        *("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Conv", "FusedConv"),
        *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul"),
        *("Attention", "MultiHeadAttention", "Softmax", "LayerNormalization", "SkipLayerNormalization"),
    }
)
_INSTALL = """Install the CUDA libraries with: pip install 'cbalign[gpu]', or use `device="cpu"`."""
_KINDS = ("cpu", "cuda", "tensorrt")
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Device:
    """Device to run on: `cpu`, or `cuda` or `tensorrt` with the index of a GPU; and why it was chosen."""

    kind: str
    index: int = 0
    reason: str = field(default="as requested", compare=False)

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.index else self.kind

    @property
    def provider(self) -> str:
        """The execution provider of the device."""
        return {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}[self.kind]

    def providers(self, engines: Mapping[str, str] = MappingProxyType({})) -> list[Provider]:
        """Return the providers of a session. TF32 is off, so that float32 has full precision.

        Args:
            engines: options of TensorRT (see `cbalign.runtime.tensorrt`).
        """
        number = {"device_id": str(self.index)}
        cuda = (CUDA, {**number, "use_tf32": "0"})
        if self.kind == "tensorrt":
            return [(TENSORRT, {**number, **engines}), cuda, CPU]
        return [CPU] if self.kind == "cpu" else [cuda, CPU]


@dataclass(frozen=True)
class GraphPlacement:
    """Operators of one graph by the provider that runs them, with counts."""

    graph: str
    operators: Mapping[str, Mapping[str, int]]

    @property
    def nodes(self) -> dict[str, int]:
        """Number of nodes per provider."""
        return {provider: sum(counts.values()) for provider, counts in self.operators.items()}

    def work(self, provider: str) -> dict[str, int]:
        """Return the compute operators that a provider runs, most frequent first."""
        counts = self.operators.get(provider, {})
        return {name: count for name, count in sorted(counts.items(), key=lambda item: -item[1]) if name in _WORK}

    def reasons(self, device: Device) -> dict[str, str]:
        """Explain why each provider runs its nodes."""
        reasons = {}
        for provider in self.operators:
            if provider == device.provider:
                reasons[provider] = device.reason
            elif work := sum(self.work(provider).values()):
                reasons[provider] = f"{work} compute nodes without a kernel in {device.provider}"
            else:
                reasons[provider] = "shapes and indices, which onnxruntime computes there by design"
        return reasons

    def misplaced(self, device: Device) -> dict[str, int]:
        """Return the compute operators that do not run on `device`."""
        found: Counter[str] = Counter()
        for provider in self.operators:
            if provider != device.provider:
                found.update(self.work(provider))
        return dict(found)

    @classmethod
    def of(cls, graph: str, session: onnxruntime.InferenceSession) -> GraphPlacement:
        """Read the placement from a session that records it."""
        operators: dict[str, Counter[str]] = {}
        for part in session.get_provider_graph_assignment_info():
            counts = operators.setdefault(part.ep_name, Counter())
            counts.update(node.op_type for node in part.get_nodes())
        return cls(graph, MappingProxyType({name: dict(counts) for name, counts in operators.items()}))


def find_device(asked: str, precision: str = REFERENCE) -> Device:
    """Resolve `auto`, `cpu`, `cuda`, `cuda:1` or `tensorrt` to a device of this machine.

    `auto` is a GPU if one works, unless the precision is intended for CPUs.

    Raises:
        UsageError: `asked` is not a device.
        DeviceError: a GPU was requested, but it or its libraries are missing.
    """
    kind, _, number = asked.partition(":")
    if kind not in ("auto", *_KINDS) or (number and (kind in ("auto", "cpu") or not number.isdecimal())):
        raise UsageError(f"no device {asked!r}", remedy="Choose auto, cpu, cuda, cuda:N or tensorrt.")
    if kind == "cpu":
        return Device("cpu")
    section = find_precision(precision)
    if kind == "auto" and section is not None and section.device == "cpu":
        return Device("cpu", reason=f"{precision} is intended for CPUs")
    device = Device("tensorrt" if kind == "tensorrt" else "cuda", int(number or 0))
    problem = _gpu_problem(device)
    if problem is None:
        return device if kind != "auto" else replace(device, reason="a working GPU")
    if kind == "auto":
        return Device("cpu", reason=problem.message)
    raise DeviceError(f"{asked} was requested, but {problem.message}", remedy=problem.remedy)


def package_conflict() -> str | None:
    """Describe the conflict if onnxruntime and onnxruntime-gpu are both installed; one overwrites the other."""
    found = installed(_PACKAGES)
    if len(found) < len(_PACKAGES):
        return None
    listed = " and ".join(f"{package} {version}" for package, version in found.items())
    return (
        f"{listed} are both installed and overwrite each other's files, so a GPU may be unused. Keep one: "
        "pip uninstall onnxruntime onnxruntime-gpu, then pip install --force-reinstall onnxruntime-gpu"
    )


def check_placement(placement: GraphPlacement, providers: list[str], device: Device) -> None:
    """Require that a session runs on the requested device.

    Raises:
        DeviceError: a compute operator would run elsewhere.
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
            remedy='Update onnxruntime-gpu, export with a lower `export.opset`, or use `device="cpu"`.',
        )


def quiet() -> None:
    """Silence onnxruntime's log on stderr; its errors are raised as exceptions with a remedy."""
    onnxruntime.set_default_logger_severity(4)


@dataclass(frozen=True)
class _Problem:
    message: str
    remedy: str


def _gpu_problem(device: Device) -> _Problem | None:
    if device.provider not in onnxruntime.get_available_providers():
        return _Problem(
            f"the installed onnxruntime has no {device.provider}",
            "Replace the package onnxruntime with onnxruntime-gpu: both together overwrite each other's files.",
        )
    count = _nvidia_gpus()
    if device.index >= count:
        found = "no NVIDIA GPU with a driver was found" if count == 0 else f"only {count} GPUs were found"
        return _Problem(found, 'Use `device="cpu"`, or check `nvidia-smi`.')
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls()
    missing = [line for line in said.getvalue().splitlines() if line.startswith("Failed to load")]
    if missing:
        return _Problem(f"its libraries do not load ({missing[0]})", _INSTALL)
    if device.kind == "tensorrt" and (unusable := load_libraries()):
        return _Problem(unusable, INSTALL)
    return None


def _nvidia_gpus() -> int:
    """Return the number of GPUs. Asking the driver is much faster than starting onnxruntime."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value
