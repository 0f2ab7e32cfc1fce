"""Run the PyTorch model of a run eagerly, compiled, or under autocast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from cbalign.encoders import Encoder
from cbalign.models.encoder import TorchEncoder
from cbalign.tasks.load import load_model

if TYPE_CHECKING:
    from cbalign.lab.benchmark.target import BenchmarkTarget


class _Autocast(nn.Module):
    """A graph under autocast to bfloat16."""

    def __init__(self, graph: nn.Module, device: str) -> None:
        super().__init__()
        self.graph = graph
        self.device_type = device

    def forward(self, *inputs: Any) -> Any:
        with torch.autocast(self.device_type, dtype=torch.bfloat16):
            return self.graph(*inputs)


def load_encoder(target: BenchmarkTarget) -> TorchEncoder:
    """Load the model of a run and set the number of threads of the target."""
    torch.set_num_threads(target.threads)
    checkpoint = None if target.checkpoint is None else Path(target.checkpoint)
    encoder: TorchEncoder = load_model(Path(target.folder), checkpoint=checkpoint, device=target.device)
    return encoder


def in_mode(encoder: Encoder, mode: str) -> TorchEncoder:
    """Return an encoder with the same weights in another mode."""
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
