"""What is measured: the graphs of a bundle in one precision, or the PyTorch model of its run in one mode."""

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
class Subject:
    """How to open one encoder, here or in a process of its own.

    `mode` is a precision of the bundle `folder`, or one of `TORCH_MODES` of the run `folder`; `checkpoint` is of a run.
    """

    backend: Literal["onnxruntime", "torch"]
    mode: str
    folder: str
    device: str
    threads: int
    checkpoint: str | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        if self.backend == "onnxruntime":
            return f"onnxruntime {self.mode}"
        return f"torch {self.mode} {'bf16' if self.mode == 'autocast' else 'fp32'}"

    def open(self) -> Encoder:
        """Load it.

        Raises:
            CbalignError: whatever keeps it from running.
        """
        return open_all([self])[0]

    def size(self) -> int:
        """Bytes on disk of the weights: the graphs of the precision, or the student and teacher of the checkpoint."""
        if self.backend == "torch":
            assert self.checkpoint is not None
            return sum(path.stat().st_size for path in Path(self.checkpoint).glob("model*.safetensors"))
        return sum(path.stat().st_size for path in (Path(self.folder) / self.mode).iterdir())

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Subject:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


def open_all(subjects: Sequence[Subject]) -> list[Encoder]:
    """Load subjects together; the modes of one PyTorch model share its weights."""
    loaded: dict[str, Encoder] = {}
    opened: list[Encoder] = []
    for subject in subjects:
        if subject.backend == "onnxruntime":
            opened.append(Session.open(subject.folder, subject.device, subject.mode, threads=subject.threads))
            continue
        from cbalign.lab.benchmark.torch_modes import in_mode, load

        if subject.folder not in loaded:
            loaded[subject.folder] = load(subject)
        opened.append(in_mode(loaded[subject.folder], subject.mode))
    return opened
