"""The contrastive temperature."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cbalign.experiment.model import TemperatureSection


class Temperature(nn.Module):
    """The contrastive temperature γ, a parameter or a constant, clamped to [minimum, maximum]."""

    part_name = "temperature"
    value: Tensor

    def __init__(self, initial: float, minimum: float, maximum: float, learned: bool, *, decayed: bool = False) -> None:
        super().__init__()
        self.minimum, self.maximum = minimum, maximum
        value = torch.tensor(initial)
        if learned:
            self.value = nn.Parameter(value)
            self.value.no_weight_decay = not decayed  # type: ignore[attr-defined]
        else:
            self.register_buffer("value", value)

    @torch.no_grad()
    def clamp(self) -> None:
        """Clamp γ to its range, after an optimiser step."""
        self.value.clamp_(self.minimum, self.maximum)


class LogTemperature(nn.Module):
    """A learned temperature γ whose parameter is log γ = -log(scale), clamped as γ (CLIP, section 2.5)."""

    part_name = "temperature"

    def __init__(self, initial: float, minimum: float, maximum: float, *, decayed: bool = False) -> None:
        super().__init__()
        self.minimum, self.maximum = minimum, maximum
        self.logarithm = nn.Parameter(torch.tensor(math.log(initial)))
        self.logarithm.no_weight_decay = not decayed  # type: ignore[attr-defined]

    @property
    def value(self) -> Tensor:
        """γ."""
        return self.logarithm.exp()

    @torch.no_grad()
    def clamp(self) -> None:
        """Clamp γ to its range, after an optimiser step."""
        self.logarithm.clamp_(math.log(self.minimum), math.log(self.maximum))


def build_temperature(section: TemperatureSection) -> Temperature | LogTemperature:
    """Build the temperature that a spec describes."""
    if section.learned and section.parameter == "logarithm":
        return LogTemperature(section.initial, section.minimum, section.maximum, decayed=section.decayed)
    return Temperature(section.initial, section.minimum, section.maximum, section.learned, decayed=section.decayed)
