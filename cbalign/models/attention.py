"""Scaled dot-product attention with the fastest implementation for the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """softmax(QKᵀ/√d) V for queries (B, heads, L, d), keys and values (B, heads, N, d).

    Args:
        mask: broadcastable to (B, heads, L, N), true where a key may be attended to; None for everywhere.
        dropout: probability of dropping an attention weight; 0 outside training.
    """
    if prefers_plain(queries.device, queries.dtype):
        scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1)
        return F.dropout(weights, dropout) @ values if dropout else weights @ values
    if mask is not None and torch.compiler.is_exporting():
        # onnxruntime's Attention takes masks over keys and queries, and none that is broadcast over queries.
        mask = mask.expand(-1, -1, queries.shape[2], -1)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)


def prefers_plain(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether plain matrix products beat torch's fused attention.

    On a CPU in bfloat16 they do, about tenfold for captions: the fused kernel works head by head.
    `benchmarks/attention.py` measures it.
    """
    return device.type == "cpu" and dtype == torch.bfloat16
