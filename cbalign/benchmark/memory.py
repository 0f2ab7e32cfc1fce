"""How much memory a subject takes, measured in a process of its own: in this one they would share it.

Run as `python -m cbalign.benchmark.memory SUBJECT BATCH BUNDLE`, it prints the peak in bytes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cbalign.benchmark.inputs import Inputs
from cbalign.benchmark.subject import Subject

_CALLS = 3


def peak_memory(subject: Subject, batch: int, bundle: Path) -> int | None:
    """Peak resident memory in bytes of loading a subject and encoding `batch` images and texts; None if unknown."""
    command = [sys.executable, "-m", "cbalign.benchmark.memory", subject.to_json(), str(batch), str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdecimal() else None


def _measure(subject: Subject, batch: int, bundle: Path) -> int:
    inputs, encoder = Inputs.of(bundle, batch), subject.open()
    for _ in range(_CALLS):
        encoder.encode_images(inputs.pixels)
        encoder.encode_texts(inputs.texts)
    return _peak()


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
    print(_measure(Subject.from_json(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
