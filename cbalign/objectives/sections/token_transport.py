"""Transport between words and patches in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ObjectiveSection, setting

TRAINING = Effect.TRAINING


class TokenTransportSection(ObjectiveSection):
    """Transport between the words of a caption and the patches of its image (GOT; UNITER's word-region alignment)."""

    name = "token_transport"
    builds = "cbalign.objectives.token_transport:TokenTransport"
    reads_tokens: ClassVar[bool] = True
    teacher: ClassVar[Literal["required", "optional", "unused"]] = "optional"

    weight: float = setting(
        0.1, ge=0, effect=TRAINING, help="Weight of the loss term; 0 disables it.", paper="0.1 (UNITER)"
    )
    beta: float = setting(0.5, gt=0, effect=TRAINING, help="Proximal step size β of IPOT.", paper="0.5 (UNITER)")
    iterations: int = setting(50, ge=1, effect=TRAINING, help="Iterations of IPOT.", paper="50 (UNITER)")
    negatives: bool = setting(
        True,
        effect=TRAINING,
        help="Subtract the cost of each caption with the patches of a hard negative image.",
        paper="yes (UNITER)",
    )
