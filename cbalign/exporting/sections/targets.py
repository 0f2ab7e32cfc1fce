"""Export targets in a spec."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, TargetSection, setting


class TritonTarget(TargetSection):
    """A model repository for the Triton inference server."""

    builds = "cbalign.exporting.triton:write_model_repository"
    needs_graphs = ("image", "text")
    next_step = "ORT_DISABLE_TELEMETRY=1 tritonserver --model-repository {folder}"

    kind: Literal["triton"] = setting(effect=Effect.EXPORT, help="Kind of target.")
    precision: str | None = setting(
        None,
        effect=Effect.EXPORT,
        help="Precision of the served graphs; null: fp16 if available, else fp32, the fastest in TensorRT.",
    )
