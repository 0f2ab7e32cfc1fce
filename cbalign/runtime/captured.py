"""Run a graph on a GPU by CUDA graph capture and replay, with fixed buffers for each bucket of shapes.

Launching the kernels of a small graph one by one takes longer than running them. A captured graph launches them
together, but always uses the addresses and shapes of its capture. Therefore, inputs are padded to the next bucket and
copied to the bucket's buffers, and outputs are truncated.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cbalign.runtime.signatures import Port, Signature

LARGEST_BATCH = 32
"""Larger batches run without capture: they keep the GPU busy anyway."""

MOST_BUCKETS = 16
"""Maximum number of buckets per graph; the least recently used one is evicted."""

_LENGTH, _LENGTH_STEP = "length", 8
_UNCAPTURED = "-1"  # as `gpu_graph_id`: run without capture


@dataclass(frozen=True)
class _Bound:
    """The buffers of one bucket."""

    graph_id: int
    binding: onnxruntime.SessionIOBinding
    inputs: tuple[onnxruntime.OrtValue, ...]
    outputs: tuple[onnxruntime.OrtValue, ...]


class CapturedGraph:
    """Runs a session by bucket. Thread-safe; calls run one at a time.

    Args:
        session: created with the provider option `enable_cuda_graph`; a provider without capture runs it normally.
        signature: signature of the graph; named dimensions vary.
        device_type, device_id: onnxruntime's device of the buffers.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, signature: Signature, device_type: str, device_id: int
    ) -> None:
        self._session = session
        self._signature = signature
        self._device = (device_type, device_id)
        self._shapes = {port.name: port.shape for port in (*session.get_inputs(), *session.get_outputs())}
        self._buckets: OrderedDict[tuple[int, ...], _Bound] = OrderedDict()
        self._next_id = 1  # 0 is onnxruntime's own
        self._lock = threading.Lock()

    def run(self, inputs: Sequence[NDArray[np.generic]], wanted: Sequence[str]) -> list[NDArray[np.generic]]:
        """Run the graph on inputs in the signature's order and copy only the wanted outputs from the device."""
        sizes = _sizes(self._signature.inputs, inputs)
        bucket = {name: bucket_of(name, size) for name, size in sizes.items()}
        with self._lock:
            if any(name != _LENGTH and size > LARGEST_BATCH for name, size in bucket.items()) or 0 in sizes.values():
                return self._run_as_is(inputs, wanted)
            bound = self._bound(bucket)
            for port, value, buffer in zip(self._signature.inputs, inputs, bound.inputs):
                buffer.update_inplace(_fitting(_pad(value, port, bucket), port, buffer))
            self._session.run_with_iobinding(bound.binding, _options(str(bound.graph_id)))
            bound.binding.synchronize_outputs()
            found = dict(zip(self._signature.output_names, zip(self._signature.outputs, bound.outputs)))
            return [_taken(value)[_cut(port, sizes)] for port, value in map(found.__getitem__, wanted)]

    def _run_as_is(self, inputs: Sequence[NDArray[np.generic]], wanted: Sequence[str]) -> list[NDArray[np.generic]]:
        feed = dict(zip(self._signature.input_names, inputs, strict=True))
        outputs: list[NDArray[np.generic]] = self._session.run(wanted, feed, _options(_UNCAPTURED))
        return outputs

    def _bound(self, bucket: Mapping[str, int]) -> _Bound:
        key = tuple(bucket[name] for name in sorted(bucket))
        if key in self._buckets:
            self._buckets.move_to_end(key)
            return self._buckets[key]
        if len(self._buckets) == MOST_BUCKETS:
            _, oldest = self._buckets.popitem(last=False)
            self._session.release_captured_graph(oldest.graph_id)
        binding = self._session.io_binding()
        inputs = tuple(self._buffer(port, bucket) for port in self._signature.inputs)
        outputs = tuple(self._buffer(port, bucket) for port in self._signature.outputs)
        for port, value in zip(self._signature.inputs, inputs):
            binding.bind_ortvalue_input(port.name, value)
        for port, value in zip(self._signature.outputs, outputs):
            binding.bind_ortvalue_output(port.name, value)
        bound = self._buckets[key] = _Bound(self._next_id, binding, inputs, outputs)
        self._next_id += 1
        return bound

    def _buffer(self, port: Port, bucket: Mapping[str, int]) -> onnxruntime.OrtValue:
        fixed = self._shapes[port.name]
        shape = [fixed[axis] if name is None else bucket[name] for axis, name in enumerate(port.shape)]
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(port.dtype).type, *self._device)


def can_be_captured(session: onnxruntime.InferenceSession, signature: Signature) -> bool:
    """Return whether the inputs determine the sizes of all buffers.

    Unnamed dimensions of the signature must be fixed in the graph; named dimensions of outputs must also be dimensions
    of inputs.
    """
    shapes = {port.name: port.shape for port in (*session.get_inputs(), *session.get_outputs())}
    given = {None, *(name for port in signature.inputs for name in port.shape)}
    return given.issuperset(name for port in signature.outputs for name in port.shape) and all(
        isinstance(shapes[port.name][axis], int)
        for port in (*signature.inputs, *signature.outputs)
        for axis, name in enumerate(port.shape)
        if name is None
    )


def bucket_of(name: str, size: int) -> int:
    """Return the padded size of a dimension: the next multiple of 8 for lengths, the next power of two for batches."""
    if name == _LENGTH:
        return -(-size // _LENGTH_STEP) * _LENGTH_STEP
    return 1 << max(0, size - 1).bit_length()


def _sizes(ports: Sequence[Port], values: Sequence[NDArray[np.generic]]) -> dict[str, int]:
    """Return the size of each named dimension. onnxruntime does not check values that are copied to a buffer."""
    sizes: dict[str, int] = {}
    for port, value in zip(ports, values, strict=True):
        if value.ndim != len(port.shape):
            raise ValueError(f"{port.name} has {value.ndim} dimensions instead of {len(port.shape)}")
        for name, size in zip(port.shape, value.shape):
            if name is not None and sizes.setdefault(name, size) != size:
                raise ValueError(f"{port.name} has {size} {name} where others have {sizes[name]}")
    return sizes


def _fitting(value: NDArray[np.generic], port: Port, buffer: onnxruntime.OrtValue) -> NDArray[np.generic]:
    if value.dtype != np.dtype(port.dtype) or list(value.shape) != list(buffer.shape()):
        raise ValueError(f"{port.name} is {value.dtype} {value.shape} instead of {port.dtype} {tuple(buffer.shape())}")
    return value


def _pad(value: NDArray[np.generic], port: Port, bucket: Mapping[str, int]) -> NDArray[np.generic]:
    """Pad batches with copies of the last row, which is never fully masked, and lengths with masked zeros."""
    for axis, name in enumerate(port.shape):
        missing = 0 if name is None else bucket[name] - value.shape[axis]
        if missing:
            widths = [(0, missing if a == axis else 0) for a in range(value.ndim)]
            value = np.pad(value, widths) if name == _LENGTH else np.pad(value, widths, mode="edge")
    return np.ascontiguousarray(value)


def _taken(value: onnxruntime.OrtValue) -> NDArray[np.generic]:
    """Copy a buffer, because the next call overwrites it."""
    found: NDArray[np.generic] = value.numpy()  # not a copy on the CPU
    return found.copy() if value.device_name() == "cpu" else found


def _cut(port: Port, sizes: Mapping[str, int]) -> tuple[slice, ...]:
    return tuple(slice(None) if name is None else slice(sizes[name]) for name in port.shape)


def _options(graph_id: str) -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", graph_id)
    return options
