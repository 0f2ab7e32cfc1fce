"""Trackers of metrics in addition to metrics.jsonl."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, TrackerSection, setting


class TensorBoardTracker(TrackerSection):
    """TensorBoard event files in the folder `tensorboard/` of the run."""

    builds = "cbalign.engine.trackers:TensorBoard"
    writes = "tensorboard/"

    kind: Literal["tensorboard"] = setting(effect=Effect.RUNTIME, help="Kind of tracker.")
