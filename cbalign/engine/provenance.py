"""The machine and software of a training, for its manifest."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from cbalign.engine.manifest import Attempt, now
from cbalign.engine.precision import Precision
from cbalign.runtime.machine import installed, processor

PACKAGES = ("cbalign", "torch", "timm", "transformers", "tokenizers", "safetensors", "numpy", "Pillow")


def describe_attempt(
    *,
    from_step: int,
    argv: Sequence[str],
    device: torch.device,
    precision: Precision,
    processes: int,
    plugins: Sequence[str] = (),
) -> Attempt:
    """This process, its machine and its software, with the versions of `plugins`."""
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return Attempt(
        started=now(),
        from_step=from_step,
        argv=tuple(argv),
        host=platform.node(),
        device=f"{device.type}: {named}, {torch.get_num_threads()} threads",
        precision=precision,
        processes=processes,
        versions={
            "python": platform.python_version(),
            "platform": platform.platform(),
            **_versions(),
            **installed(plugins),
        },
        revision=_revision(Path(__file__).parent),
    )


def _versions() -> dict[str, str]:
    modules = {package: getattr(sys.modules.get(package), "__version__", "not installed") for package in PACKAGES}
    return {**modules, **installed(PACKAGES)}


def _revision(folder: Path) -> str | None:
    """The git commit of the checkout that `folder` is in, if it is in one that tracks it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10, env=environment
        ).stdout.strip()

    try:
        if not git("ls-files", "--", Path(__file__).name):
            return None
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", "..") else "")
    except (OSError, subprocess.SubprocessError):
        return None
