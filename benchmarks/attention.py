"""Compare plain matrix products with torch's fused attention in bfloat16 on this CPU, forward and backward.

    python benchmarks/attention.py

Prints, for the shapes of the recipe scratch, how many times faster the plain form of `cbalign.models.attention` is.
Only the ratio is meaningful: both are timed in turns in one process.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from cbalign.models.attention import attend

SHAPES = {
    "captions": (256, 12, 13, 13, 32),
    "captions onto images": (128, 12, 39, 65, 32),
    "images": (128, 3, 65, 65, 64),
}
ROUNDS = 7


def seconds(run: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    run().sum().backward()
    return time.perf_counter() - start


def main() -> None:
    for name, (batch, heads, queries, keys, width) in SHAPES.items():
        q, k, v = (
            torch.randn(batch, heads, n, width, dtype=torch.bfloat16, requires_grad=True) for n in (queries, keys, keys)
        )
        plain, fused = [], []
        for _ in range(ROUNDS):
            plain.append(seconds(lambda q=q, k=k, v=v: attend(q, k, v, None, 0.0)))
            fused.append(seconds(lambda q=q, k=k, v=v: F.scaled_dot_product_attention(q, k, v)))
        ratio = statistics.median(fused) / statistics.median(plain)
        print(f"{name:24s} plain is {ratio:.1f} times as fast")


if __name__ == "__main__":
    main()
