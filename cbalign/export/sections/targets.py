"""Other layouts that an export can write."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, TargetSection, setting


class TritonTarget(TargetSection):
    """A model repository for the Triton inference server."""

    builds = "cbalign.apps.serving.triton:write_target"

    kind: Literal["triton"] = setting(effect=Effect.EXPORT, help="Which target.")
    precision: str | None = setting(
        None, effect=Effect.EXPORT, help="Which precision of the bundle is served; null: the first that it lists."
    )
