"""Load one graph of a bundle into onnxruntime, check it against its signature, and run it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cbalign.errors import BundleError, DeviceError
from cbalign.runtime.captured import CapturedGraph, can_be_captured
from cbalign.runtime.memory_errors import is_out_of_memory
from cbalign.runtime.placement import CUDA, Device, GraphPlacement, Provider, check_placement
from cbalign.runtime.signatures import Signature

_ELEMENT = {"uint8": "tensor(uint8)", "int64": "tensor(int64)", "float32": "tensor(float)"}


@dataclass(frozen=True)
class LoadedGraph:
    """A graph that onnxruntime has loaded. Created by `load_graph`.

    Args:
        name: name of the graph.
        signature: its inputs and outputs.
        session: the onnxruntime session.
        placement: execution provider of each node.
        captured: runs the graph with fixed buffers and CUDA graphs; None if it cannot be captured.
    """

    name: str
    signature: Signature
    session: onnxruntime.InferenceSession
    placement: GraphPlacement
    captured: CapturedGraph | None = None

    # The outputs of a graph have several dtypes, which its signature lists.
    def run(self, inputs: Sequence[NDArray[np.generic]], outputs: Sequence[str] | None = None) -> list[NDArray]:  # type: ignore[type-arg]
        """Run the graph on inputs in the order of its signature; `outputs` selects outputs by name (default: all).

        Raises:
            BundleError: onnxruntime cannot run the graph on these inputs.
        """
        feed = dict(zip(self.signature.input_names, inputs, strict=True))
        wanted = tuple(outputs or self.signature.output_names)
        try:
            if self.captured is not None:
                return self.captured.run(inputs, wanted)
            found: list[NDArray] = self.session.run(wanted, feed)  # type: ignore[type-arg]
        except Exception as error:  # onnxruntime's exceptions share no base class
            refuse_full_memory(error, f"run the {self.name} graph")
            given = ", ".join(f"{name} {value.dtype} {value.shape}" for name, value in feed.items())
            raise BundleError(
                f"onnxruntime {onnxruntime.__version__} cannot run the {self.name} graph on {given} ({_reason(error)})",
                remedy="Check the inputs, or export with another `export.opset`.",
            ) from error
        return found


def load_graph(
    name: str,
    path: Path,
    signature: Signature,
    device: Device,
    threads: int | None,
    *,
    cuda_graphs: bool,
    engines: Mapping[str, str] = MappingProxyType({}),
) -> LoadedGraph:
    """Load a graph from its file.

    Args:
        name: name of the graph.
        path: its ONNX file.
        signature: the inputs and outputs that it must have.
        device: device that runs it.
        threads: onnxruntime threads on the CPU; None lets onnxruntime choose.
        cuda_graphs: whether to capture CUDA graphs, if onnxruntime supports it.
        engines: options of TensorRT.

    Raises:
        BundleError: onnxruntime cannot load the file, or it is another graph.
        DeviceError: the device cannot run the whole graph.
    """
    session = _open_session(path, device, threads, cuda_graphs, engines)
    _check_signature(name, signature, session, path)
    captured = None
    if _captures(session) and can_be_captured(session, signature):
        captured = CapturedGraph(session, signature, "cuda", device.index)
    placement = GraphPlacement.of(name, session)
    if device.kind != "cpu":
        check_placement(placement, session.get_providers(), device)
    return LoadedGraph(name, signature, session, placement, captured)


def refuse_full_memory(error: Exception, what: str) -> None:
    """Raise DeviceError if an error of onnxruntime says that memory is full."""
    if is_out_of_memory(error):
        raise DeviceError(
            f"not enough memory to {what}", remedy="Use smaller batches, or raise the limit (ulimit, the job's memory)."
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def _open_session(
    path: Path, device: Device, threads: int | None, cuda_graphs: bool, engines: Mapping[str, str]
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # Each graph has its own threads, which would otherwise keep spinning while another graph runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    if cuda_graphs and device.kind == "cuda":
        # onnxruntime does not capture a graph with a compute node on the CPU.
        with contextlib.suppress(Exception):
            return onnxruntime.InferenceSession(str(path), options, providers=_capturing(device.providers()))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=device.providers(engines))
    except Exception as error:  # onnxruntime's exceptions share no base class
        refuse_full_memory(error, f"load {path}")
        raise BundleError(
            f"{path}: onnxruntime {onnxruntime.__version__} cannot load the graph ({_reason(error)})",
            remedy="Update onnxruntime, or export with a lower `export.opset`.",
        ) from error


def _capturing(providers: list[Provider]) -> list[Provider]:
    return [
        (p[0], {**p[1], "enable_cuda_graph": "1"}) if isinstance(p, tuple) and p[0] == CUDA else p for p in providers
    ]


def _captures(session: onnxruntime.InferenceSession) -> bool:
    return str(session.get_provider_options().get(CUDA, {}).get("enable_cuda_graph", "0")) == "1"


def _check_signature(name: str, signature: Signature, session: onnxruntime.InferenceSession, path: Path) -> None:
    expected = [(port.name, _ELEMENT[port.dtype]) for port in (*signature.inputs, *signature.outputs)]
    found = [(port.name, port.type) for port in (*session.get_inputs(), *session.get_outputs())]
    if found != expected:
        raise BundleError(
            f"{path} is not a {name} graph: it has {found} instead of {expected}",
            remedy="Do not rename or replace the files of a bundle.",
        )
