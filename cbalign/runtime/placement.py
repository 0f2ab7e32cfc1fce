"""On which device onnxruntime runs: asked for, found, and proven node by node.

onnxruntime falls back to the CPU without an exception. So a device that is asked for by name is checked three times:
that a GPU and its libraries are there, that the session has the provider, and that no node with real work was put
elsewhere. TensorRT is held to the same: what it leaves to CUDA is work elsewhere.
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

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
Provider: TypeAlias = str | tuple[str, dict[str, str]]

# onnxruntime computes shapes on the CPU on purpose; these operators are the work that must be where it was asked for.
_WORK = frozenset(
    {
        *("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Conv", "FusedConv"),
        *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul"),
        *("Attention", "MultiHeadAttention", "Softmax", "LayerNormalization", "SkipLayerNormalization"),
    }
)
_INSTALL = "Install the CUDA libraries with: pip install 'cbalign[gpu]', or use --device cpu."
_KINDS = ("cpu", "cuda", "tensorrt")
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Device:
    """Where to run: `cpu`, or `cuda` or `tensorrt` with the number of a GPU, and why it is this one."""

    kind: str
    index: int = 0
    reason: str = field(default="as asked", compare=False)

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.index else self.kind

    @property
    def provider(self) -> str:
        """The execution provider that must be there."""
        return {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}[self.kind]

    def providers(self) -> list[Provider]:
        """What a session is created with. TF32 is off: float32 means float32."""
        number = {"device_id": str(self.index)}
        cuda = (CUDA, {**number, "use_tf32": "0"})
        if self.kind == "tensorrt":
            return [(TENSORRT, number), cuda, CPU]
        return [CPU] if self.kind == "cpu" else [cuda, CPU]


@dataclass(frozen=True)
class Placement:
    """Operators of one graph by the provider that runs them, with counts."""

    graph: str
    operators: Mapping[str, Mapping[str, int]]

    @property
    def nodes(self) -> dict[str, int]:
        """Number of nodes per provider."""
        return {provider: sum(counts.values()) for provider, counts in self.operators.items()}

    def work(self, provider: str) -> dict[str, int]:
        """The operators with real work that a provider runs, most frequent first."""
        counts = self.operators.get(provider, {})
        return {name: count for name, count in sorted(counts.items(), key=lambda item: -item[1]) if name in _WORK}

    def reasons(self, device: Device) -> dict[str, str]:
        """Why each provider runs what it runs."""
        told = {}
        for provider in self.operators:
            if provider == device.provider:
                told[provider] = device.reason
            elif work := sum(self.work(provider).values()):
                told[provider] = f"{work} nodes with real work that {device.provider} has no kernel for"
            else:
                told[provider] = "shapes and indices, which onnxruntime computes there on purpose"
        return told

    def misplaced(self, device: Device) -> dict[str, int]:
        """Operators with real work that do not run on `device`."""
        found: Counter[str] = Counter()
        for provider in self.operators:
            if provider != device.provider:
                found.update(self.work(provider))
        return dict(found)

    @classmethod
    def of(cls, graph: str, session: onnxruntime.InferenceSession) -> Placement:
        """Read it from a session that was told to record it."""
        operators: dict[str, Counter[str]] = {}
        for part in session.get_provider_graph_assignment_info():
            counts = operators.setdefault(part.ep_name, Counter())
            counts.update(node.op_type for node in part.get_nodes())
        return cls(graph, MappingProxyType({name: dict(counts) for name, counts in operators.items()}))


def find_device(asked: str, precision: str = REFERENCE) -> Device:
    """The device that `auto`, `cpu`, `cuda`, `cuda:1` or `tensorrt` names on this machine.

    `auto` is a GPU if one works, unless the precision is made for CPUs.

    Raises:
        UsageError: it is none of these.
        DeviceError: a GPU was asked for and is not there, or its libraries are not.
    """
    kind, _, number = asked.partition(":")
    if kind not in ("auto", *_KINDS) or (number and (kind in ("auto", "cpu") or not number.isdecimal())):
        raise UsageError(f"no device {asked!r}", remedy="Choose auto, cpu, cuda, cuda:N or tensorrt.")
    if kind == "cpu":
        return Device("cpu")
    section = find_precision(precision)
    if kind == "auto" and section is not None and section.device == "cpu":
        return Device("cpu", reason=f"{precision} is made for CPUs")
    device = Device("tensorrt" if kind == "tensorrt" else "cuda", int(number or 0))
    problem = _gpu_problem(device)
    if problem is None:
        return device if kind != "auto" else replace(device, reason="a GPU that works")
    if kind == "auto":
        return Device("cpu", reason=problem.message)
    raise DeviceError(f"{asked} was asked for, but {problem.message}", remedy=problem.remedy)


def package_conflict() -> str | None:
    """What to say where onnxruntime and onnxruntime-gpu are both installed: the later one overwrote the other."""
    found = installed(_PACKAGES)
    if len(found) < len(_PACKAGES):
        return None
    listed = " and ".join(f"{package} {version}" for package, version in found.items())
    return (
        f"{listed} are both installed and overwrite each other's files, so that a GPU may go unused. Keep one: "
        "pip uninstall onnxruntime onnxruntime-gpu, then pip install --force-reinstall onnxruntime-gpu"
    )


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


def _gpu_problem(device: Device) -> _Problem | None:
    if device.provider not in onnxruntime.get_available_providers():
        return _Problem(
            f"the installed onnxruntime has no {device.provider}",
            "Replace the package onnxruntime by onnxruntime-gpu: both together overwrite each other's files.",
        )
    count = _nvidia_gpus()
    if device.index >= count:
        found = "no NVIDIA GPU with a driver was found" if count == 0 else f"only {count} GPUs were found"
        return _Problem(found, "Use --device cpu, or check `nvidia-smi`.")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls()
    missing = [line for line in said.getvalue().splitlines() if line.startswith("Failed to load")]
    if missing:
        return _Problem(f"its libraries do not load ({missing[0]})", _INSTALL)
    if device.kind == "tensorrt" and not _loads("nvinfer_10.dll" if sys.platform == "win32" else "libnvinfer.so.10"):
        return _Problem("TensorRT's library does not load", "Install it with: pip install tensorrt, or use cuda.")
    return None


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


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
