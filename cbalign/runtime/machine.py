"""Describe this machine and its software, without host names or addresses."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from cbalign import __version__


def processor() -> str:
    """Return the model name of the CPU."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ask_gpus(*fields: str, gpu: int | None = None) -> list[list[str]]:
    """Query `nvidia-smi` for each NVIDIA GPU, or for one; empty if there is none.

    Args:
        fields: fields of its --query-gpu, such as `name` or `memory.used` (in MiB).
        gpu: index of the GPU among those visible to this process.
    """
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    if gpu is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        command += ["-i", visible[gpu].strip() if gpu < len(visible) and visible[gpu].strip() else str(gpu)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(", ") for line in done.stdout.splitlines()]
    return [row for row in rows if len(row) == len(fields)]


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages that are installed; of cbalign, that of the running source."""
    return {package: found for package in packages if (found := _version(package)) is not None}


def _version(package: str) -> str | None:
    if package == "cbalign":
        return __version__  # metadata of an editable installation can be older
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
