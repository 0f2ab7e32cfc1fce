"""Benchmark targets: the graphs of a bundle in one precision, or the PyTorch model of its run in one mode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from cbalign.encoders import Encoder
from cbalign.runtime.session import Session

TORCH_MODES = ("eager", "compiled", "autocast")


@dataclass(frozen=True)
class BenchmarkTarget:
    """An encoder to benchmark, in this process or a separate one.

    `mode` is a precision of the bundle `folder`, or one of `TORCH_MODES` for the run `folder` and its `checkpoint`.
    """

    backend: Literal["onnxruntime", "torch"]
    mode: str
    folder: str
    device: str
    threads: int
    checkpoint: str | None = None

    @property
    def name(self) -> str:
        """Name in tables."""
        if self.backend == "onnxruntime":
            return f"onnxruntime {self.mode}"
        return f"torch {self.mode} {'bf16' if self.mode == 'autocast' else 'fp32'}"

    def open(self) -> Encoder:
        """Load the encoder.

        Raises:
            CbalignError: the encoder cannot run.
        """
        return open_all([self])[0]

    def size(self) -> int:
        """Return the bytes on disk: graphs of the precision, or student and teacher of the checkpoint."""
        if self.backend == "torch":
            assert self.checkpoint is not None
            return sum(path.stat().st_size for path in Path(self.checkpoint).glob("model*.safetensors"))
        return sum(path.stat().st_size for path in (Path(self.folder) / self.mode).iterdir())

    def to_json(self) -> str:
        """Return the target as JSON, for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BenchmarkTarget:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


def open_all(targets: Sequence[BenchmarkTarget]) -> list[Encoder]:
    """Load all targets; the modes of a PyTorch model share its weights."""
    loaded: dict[str, Encoder] = {}
    opened: list[Encoder] = []
    for target in targets:
        if target.backend == "onnxruntime":
            opened.append(Session.open(target.folder, target.device, target.mode, threads=target.threads))
            continue
        from cbalign.lab.benchmark.torch_modes import in_mode, load_encoder

        if target.folder not in loaded:
            loaded[target.folder] = load_encoder(target)
        opened.append(in_mode(loaded[target.folder], target.mode))
    return opened
