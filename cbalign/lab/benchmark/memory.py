"""How much memory a subject takes, measured in a process of its own: in this one they would share it.

Run as `python -m cbalign.lab.benchmark.memory SUBJECT BATCH BUNDLE`, it prints two peaks in bytes, of the machine's
memory and of the GPU's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cbalign.lab.benchmark.inputs import Inputs
from cbalign.lab.benchmark.subject import Subject
from cbalign.runtime.machine import ask_gpus

_CALLS = 3


@dataclass(frozen=True)
class Memory:
    """In bytes; None where it is unknown, or where no GPU has a part in it."""

    resident: int | None = None
    gpu: int | None = None


def peak_memory(subject: Subject, batch: int, bundle: Path) -> Memory:
    """The most that loading a subject and encoding `batch` images and texts takes.

    On a GPU it is what is in use at the end and was not before, the driver's context included: neither PyTorch nor
    onnxruntime gives back what it has taken. Other work on that GPU would be counted, too.
    """
    command = [sys.executable, "-m", "cbalign.lab.benchmark.memory", subject.to_json(), str(batch), str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return Memory(*json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, TypeError, ValueError):  # it failed; the rest of the benchmark is worth keeping
        return Memory()


def _measure(subject: Subject, batch: int, bundle: Path) -> Memory:
    before = _gpu_memory(subject.device)
    inputs, encoder = Inputs.of(bundle, batch), subject.open()
    for _ in range(_CALLS):
        encoder.embed_images(inputs.pixels)
        encoder.embed_texts(inputs.texts)
    after = _gpu_memory(subject.device)
    return Memory(_peak(), None if before is None or after is None else after - before)


def _gpu_memory(device: str) -> int | None:
    """In use on the GPU of this name."""
    kind, _, number = device.partition(":")
    found = [] if kind == "cpu" else ask_gpus("memory.used", gpu=int(number or 0))
    return int(found[0][0]) << 20 if found and found[0][0].isdecimal() else None


def _peak() -> int:
    """Of this process, without what it inherited from the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


if __name__ == "__main__":
    measured = _measure(Subject.from_json(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    print(json.dumps([measured.resident, measured.gpu]))
