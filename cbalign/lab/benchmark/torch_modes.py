"""The PyTorch model of a run as people use it: eager, compiled, or under autocast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from cbalign.encoders import Encoder
from cbalign.models.encoder import TorchEncoder
from cbalign.tasks.load import load_model

if TYPE_CHECKING:
    from cbalign.lab.benchmark.subject import Subject


class _Autocast(nn.Module):
    """A graph whose matrix products are computed in bfloat16."""

    def __init__(self, graph: nn.Module, device: str) -> None:
        super().__init__()
        self.graph = graph
        self.device_type = device

    def forward(self, *inputs: Any) -> Any:
        with torch.autocast(self.device_type, dtype=torch.bfloat16):
            return self.graph(*inputs)


def load(subject: Subject) -> TorchEncoder:
    """The model of a run, with as many threads as its neighbours have."""
    torch.set_num_threads(subject.threads)
    checkpoint = None if subject.checkpoint is None else Path(subject.checkpoint)
    encoder: TorchEncoder = load_model(Path(subject.folder), checkpoint=checkpoint, device=subject.device)
    return encoder


def in_mode(encoder: Encoder, mode: str) -> TorchEncoder:
    """The same weights, run in another mode."""
    assert isinstance(encoder, TorchEncoder)
    changed = TorchEncoder(encoder.model, encoder.tokenizer, encoder.device)
    if mode == "compiled":
        changed.graphs = {name: _compiled(graph) for name, graph in encoder.graphs.items()}
    if mode == "autocast":
        changed.graphs = {name: _Autocast(graph, encoder.device.type) for name, graph in encoder.graphs.items()}
    return changed


def _compiled(graph: nn.Module) -> nn.Module:
    compiled = torch.compile(graph)
    assert isinstance(compiled, nn.Module)
    return compiled
