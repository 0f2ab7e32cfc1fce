"""Count operations and memory of a step whose tensors have shapes but no values."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from cbalign.models.recorded import Owner, module_owners

aten = torch.ops.aten
FULL = 2**31 - 1  # larger than any queue


class ExpectedSizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives the average size to results whose size depends on values.

    In a training step these are the tokens that are not padding (`nonzero`) and the masked words (boolean indexing).
    Python reads the values of the most expensive step: solvers never stop early, and queues are full.

    Args:
        tokens: fraction of the positions of a batch of captions that are not padding.
        masked: fraction of the positions that are masked words.
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
    """Makes attention with dropout use the fused kernel; the CPU has none with dropout.

    Fused kernels of GPUs recompute the dropout mask in the backward pass instead of storing it.
    """

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            given["dropout_p"] = 0.0
        return func(*args, **given)


class MemoryWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tracks the peak memory of the tensors that are allocated while it is active.

    Args:
        resident: tensors that exist before; their memory is not counted.
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


class OperationsByOwner:
    """Counts the operations of forward passes by part of the model.

    Operations are attributed to the part of the innermost running module (see `cbalign.models.recorded`), even if the
    module is called from another part.

    Args:
        model: the model whose modules are hooked.
        counter: counts all operations.
    """

    def __init__(self, model: nn.Module, counter: FlopCounterMode) -> None:
        self._model = model
        self._counter = counter
        self._counts: dict[Owner, int] = {}
        self._running = [Owner()]
        self._seen = 0
        self._hooks: list[RemovableHandle] = []

    @property
    def teacher(self) -> int:
        """Operations of the momentum teacher."""
        return sum(count for owner, count in self._counts.items() if owner.teacher)

    def of(self, part: str) -> int:
        """Operations of a part of the student."""
        return self._counts.get(Owner(part), 0)

    def __enter__(self) -> Self:
        owners = module_owners(self._model)
        self._seen = self._counter.get_total_flops()
        for name, module in self._model.named_modules():
            owner = owners[name]

            def begin(module: nn.Module, args: object, owner: Owner = owner) -> None:
                self._flush()
                self._running.append(owner)

            def end(module: nn.Module, args: object, result: object) -> None:
                self._flush()
                self._running.pop()

            self._hooks += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        for hook in self._hooks:
            hook.remove()

    def _flush(self) -> None:
        """Attribute the operations since the last call to the running module."""
        total = self._counter.get_total_flops()
        owner = self._running[-1]
        self._counts[owner] = self._counts.get(owner, 0) + total - self._seen
        self._seen = total
