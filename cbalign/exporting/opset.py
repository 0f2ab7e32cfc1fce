"""Choose the ONNX operator set for `export.opset: auto` by testing the installed onnxruntime.

Opset 23 has a single Attention node; older opsets need products, a softmax and two dozen other nodes. Some versions of
onnxruntime do not run it on every device (1.24 runs it on the CPU under CUDA) or with every mask, so it is tested.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from cbalign.runtime.placement import CPU, Device, GraphPlacement, find_device, quiet

ATTENTION_OPSET, PLAIN_OPSET = 23, 20
"""On a CPU at ViT-B size both are equally fast (`benchmarks/opset.py`). The fused one has a third fewer nodes, and only
it has flash and memory-efficient kernels on GPUs."""

_PROBE = """<ir_version: 10, opset_import: ["" : 23]>
attention (float[b,h,l,d] q, float[b,h,n,d] k, float[b,h,n,d] v, bool[b,one,l,n] mask)
    => (float[b,h,l,d] masked, float[b,h,l,d] free, float[b,l,e] merged) {
    masked = Attention (q, k, v, mask)
    free = Attention (q, k, v)
    shape = Constant <value_ints = [0, 0, -1]> ()
    q_heads = Transpose <perm = [0, 2, 1, 3]> (q)
    k_heads = Transpose <perm = [0, 2, 1, 3]> (k)
    v_heads = Transpose <perm = [0, 2, 1, 3]> (v)
    q_tokens = Reshape (q_heads, shape)
    k_tokens = Reshape (k_heads, shape)
    v_tokens = Reshape (v_heads, shape)
    merged = Attention <q_num_heads = 2, kv_num_heads = 2> (q_tokens, k_tokens, v_tokens, mask)
}"""


@dataclass(frozen=True)
class Opset:
    """An operator set and why it was chosen."""

    version: int
    reason: str


def resolve_opset(setting: str | int) -> Opset:
    """Resolve `export.opset` on this machine."""
    if not isinstance(setting, str):
        return Opset(setting, "set in the spec")
    found = find_device("auto")
    devices = [Device("cpu")] if found.kind == "cpu" else [Device("cpu"), found]
    runtime = f"onnxruntime {onnxruntime.__version__}"
    for device in devices:
        if (problem := attention_problem(device)) is not None:
            return Opset(PLAIN_OPSET, f"{runtime} does not run opset {ATTENTION_OPSET}'s Attention well: {problem}")
    places = " and ".join(device.provider for device in devices)
    untried = "" if len(devices) > 1 else "; not tested on a GPU"
    return Opset(ATTENTION_OPSET, f"{runtime} runs its Attention as one node on {places}, with equal outputs{untried}")


def attention_problem(device: Device) -> str | None:
    """Describe the problem of opset 23's Attention on a device; None if it runs there and computes correct outputs."""
    quiet()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    q, k, v, mask = _example()
    try:
        model = onnx.parser.parse_model(_PROBE).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=device.providers())
        masked, free, merged = session.run(["masked", "free", "merged"], {"q": q, "k": k, "v": v, "mask": mask})
    except Exception as error:  # onnxruntime's exceptions share no base class
        return " ".join(str(error).split())[:200]
    if misplaced := GraphPlacement.of("attention", session).misplaced(device):
        return f"{sum(misplaced.values())} of 3 nodes run on {CPU} instead of {device.provider}"
    split = merged.reshape(*merged.shape[:2], q.shape[1], -1).swapaxes(1, 2)
    for found, allowed in ((masked, mask), (free, np.ones_like(mask)), (split, mask)):
        error_found = float(np.abs(found - _attention(q, k, v, allowed)).max())
        if not error_found <= 1e-4:
            return f"its outputs are off by {error_found:.2g} on {device.provider}"
    return None


def _example() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return queries (2, 2, 5, 8), keys and values (2, 2, 7, 8), and a padding mask (2, 1, 5, 7)."""
    generator = np.random.default_rng(0)
    q, k, v = (generator.standard_normal((2, 2, length, 8), np.float32) for length in (5, 7, 7))
    mask = np.broadcast_to(np.arange(7) < np.array([7, 3])[:, None, None, None], (2, 1, 5, 7))
    return q, k, v, np.ascontiguousarray(mask)


def _attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Compute softmax(QKᵀ/√d) V."""
    scores = np.where(mask, q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]), -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ v
