"""The `legacy` section: quirks of the published code that its numbers were trained with, fixed unless asked for."""

from __future__ import annotations

from cbalign.spec.section import Effect, Section, setting


class LegacySection(Section):
    """Quirks of ALBEF's code at the time of its paper."""

    undistilled_answers: bool = setting(
        False,
        effect=Effect.TRAINING,
        help="VQA learns without distillation, whatever `model.teacher.distillation` says.",
        paper="yes: until July 2022 ALBEF's code did not hand its weight on (issue 90)",
    )
