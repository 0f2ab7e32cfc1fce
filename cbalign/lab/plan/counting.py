"""Watching a step that computes nothing: tensors have shapes but no values, and every operation is accounted for."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
FULL = 2**31 - 1  # more entries than any queue has


class ExpectedSizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives results whose size depends on values the size that they have on average.

    In a training step these are the real tokens among padding (`nonzero`) and the words that are masked (indexing by
    booleans). Values that code asks for are those of the costliest step: solvers never stop early, queues are full.

    Args:
        tokens: share of the places of a batch of captions that hold a token.
        masked: share of the places that hold a masked word.
    """

    def __init__(self, *, tokens: float, masked: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tokens = tokens
        self._masked = masked

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is aten.nonzero.default:
            mask = args[0]
            return mask.new_empty((round(self._tokens * mask.numel()), mask.ndim), dtype=torch.int64)
        if func is aten.index.Tensor and args[1] and args[1][0] is not None and args[1][0].dtype == torch.bool:
            source, (mask, *_) = args
            return source.new_empty((max(1, round(self._masked * mask.numel())), *source.shape[mask.ndim :]))
        if func is aten._local_scalar_dense.default:
            return FULL if args[0].dtype == torch.int64 else 0
        return func(*args, **(kwargs or {}))


class FusedAttention(TorchFunctionMode):
    """Lets attention with dropout take the fused form, which a CPU has only without.

    GPUs' fused kernels draw the dropped weights again in the backward pass instead of keeping them.
    """

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            given["dropout_p"] = 0.0
        return func(*args, **given)


class MemoryWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """How many bytes of tensors live at once, of those that appear while it watches.

    Args:
        resident: tensors that are there before; their memory is not counted.
    """

    def __init__(self, resident: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._living: dict[int, weakref.ref[Any]] = {}
        for tensor in resident:
            self._know(tensor, 0)
        self.now = 0
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if id(storage) not in self._living:
            size = storage.nbytes()
            self._know(tensor, size)
            self.now += size
            self.peak = max(self.peak, self.now)

    def _know(self, tensor: Tensor, size: int) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)

        def gone(_: object) -> None:
            self._living.pop(key, None)
            self.now -= size

        self._living[key] = weakref.ref(storage, gone)
