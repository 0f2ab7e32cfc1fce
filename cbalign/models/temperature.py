"""The contrastive temperature."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
