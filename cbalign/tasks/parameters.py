"""How the optimiser treats the parts of a model."""

from __future__ import annotations

from torch import nn

from cbalign.engine.task import ParameterGroup, no_decay_for_vectors
from cbalign.experiment.training import AdamWSection


def tower_groups(
    model: nn.Module, vision: nn.Module, text: nn.Module, optimizer: AdamWSection, weight_decay: float
) -> list[ParameterGroup]:
    """Matrices decay, vectors do not; the towers, parts of the model, have their own learning rates."""
    towers = ((vision, optimizer.vision_lr_scale), (text, optimizer.text_lr_scale))
    in_towers = {id(p) for tower, _ in towers for p in tower.parameters()}
    groups = no_decay_for_vectors((p for p in model.parameters() if id(p) not in in_towers), weight_decay)
    for tower, scale in towers:
        groups += no_decay_for_vectors(tower.parameters(), weight_decay, scale)
    return groups
