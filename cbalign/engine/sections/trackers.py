"""Trackers: where the metrics of a training go besides metrics.jsonl."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, TrackerSection, setting


class TensorBoardTracker(TrackerSection):
    """TensorBoard event files in the run's folder `tensorboard/`."""

    builds = "cbalign.engine.trackers:TensorBoard"
    writes = "tensorboard/"

    kind: Literal["tensorboard"] = setting(effect=Effect.RUNTIME, help="Which tracker.")
