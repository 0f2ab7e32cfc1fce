"""Learning-rate schedules in a spec."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, ScheduleSection, setting
from cbalign.parts.duration import Duration

TRAINING = Effect.TRAINING


class CosineSection(ScheduleSection):
    """Linear warm-up, then cosine decay."""

    builds = "cbalign.engine.schedule:Cosine.from_section"

    kind: Literal["cosine"] = setting("cosine", effect=TRAINING, help="Kind of schedule.")
    warmup: Duration = setting(
        "2000 steps", effect=TRAINING, help="Length of the warm-up.", paper="2000 steps (ALBEF's code)"
    )
    warmup_lr: float = setting(
        1e-5, ge=0, effect=TRAINING, help="Learning rate of the first step.", paper="1e-5 (ALBEF)"
    )
    final_lr: float = setting(
        1e-5,
        ge=0,
        effect=TRAINING,
        help="Learning rate of the last step; with `updates: epoch`, that of the epoch after the last.",
        paper="1e-5 (ALBEF)",
    )
    updates: Literal["step", "epoch"] = setting(
        "step",
        since="0.2",
        effect=TRAINING,
        help="When the rate changes: at every step, or as in ALBEF's code once per epoch, so that it never reaches "
        "`final_lr`; the warm-up then rises every 100 steps and ends with the first epoch at the latest.",
        paper="epoch (ALBEF's code)",
    )


class ConstantSection(ScheduleSection):
    """Linear warm-up, then constant."""

    builds = "cbalign.engine.schedule:Constant.from_section"

    kind: Literal["constant"] = setting(effect=TRAINING, help="Kind of schedule.")
    warmup: Duration = setting("0 steps", effect=TRAINING, help="Length of the warm-up.")
    warmup_lr: float = setting(0.0, ge=0, effect=TRAINING, help="Learning rate of the first step.")
