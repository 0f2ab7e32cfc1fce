"""Random inputs of any shape, in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor

seeds = st.integers(0, 2**31 - 1)


def unit_vectors(count: int, dim: int, seed: int) -> Tensor:
    """(count, dim) in float64, each of length one."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=generator, dtype=torch.float64), dim=1)


def normal(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    """Gaussian numbers in float64."""
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(fast: Tensor | float, slow: float, tolerance: float = 1e-5) -> bool:
    """Whether a scalar agrees to `tolerance` of its size, or of one where it is smaller."""
    return abs(float(fast) - slow) <= tolerance * max(1.0, abs(slow))


def numeric_gradient(function: Callable[[Tensor], float], at: Tensor, step: float = 1e-6) -> Tensor:
    """The gradient of a function of one tensor by central differences."""
    gradient = torch.zeros_like(at)
    for i in range(at.numel()):
        nudge = torch.zeros_like(at).flatten()
        nudge[i] = step
        nudge = nudge.view_as(at)
        gradient.view(-1)[i] = (function(at + nudge) - function(at - nudge)) / (2 * step)
    return gradient
