"""Measure the peak memory of a target in a separate process, so that targets do not share memory.

Run as `python -m cbalign.lab.benchmark.memory TARGET BATCH BUNDLE`, it prints two peaks in bytes, of the machine's
memory and of the GPU's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cbalign.lab.benchmark.inputs import Inputs
from cbalign.lab.benchmark.target import BenchmarkTarget
from cbalign.runtime.machine import ask_gpus

_CALLS = 3


@dataclass(frozen=True)
class PeakMemory:
    """Peak memory in bytes; None if unknown, or if no GPU is used."""

    resident: int | None = None
    gpu: int | None = None


def peak_memory(target: BenchmarkTarget, batch: int, bundle: Path) -> PeakMemory:
    """Measure the peak memory of loading a target and encoding `batch` images and texts.

    GPU memory is the increase until the end, including the driver's context: PyTorch and onnxruntime do not release
    allocated memory. It includes other work on the same GPU.
    """
    command = [sys.executable, "-m", "cbalign.lab.benchmark.memory", target.to_json(), str(batch), str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return PeakMemory(*json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, TypeError, ValueError):  # keep the rest of the benchmark
        return PeakMemory()


def _measure(target: BenchmarkTarget, batch: int, bundle: Path) -> PeakMemory:
    before = _gpu_memory(target.device)
    inputs, encoder = Inputs.of(bundle, batch), target.open()
    for _ in range(_CALLS):
        encoder.embed_images(inputs.pixels)
        encoder.embed_texts(inputs.texts)
    after = _gpu_memory(target.device)
    return PeakMemory(_peak(), None if before is None or after is None else after - before)


def _gpu_memory(device: str) -> int | None:
    """Return the memory in use on a GPU."""
    kind, _, number = device.partition(":")
    found = [] if kind == "cpu" else ask_gpus("memory.used", gpu=int(number or 0))
    return int(found[0][0]) << 20 if found and found[0][0].isdecimal() else None


def _peak() -> int:
    """Return the peak memory of this process, without memory inherited from its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


if __name__ == "__main__":
    measured = _measure(BenchmarkTarget.from_json(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    print(json.dumps([measured.resident, measured.gpu]))
