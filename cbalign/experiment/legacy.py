"""The `legacy` section: quirks of the published code that its numbers were trained with, fixed unless asked for."""

from __future__ import annotations

from cbalign.parts.section import Effect, Section, setting


class LegacySection(Section):
    """Quirks of ALBEF's code at the time of its paper."""

    soft_labels_over_positions: bool = setting(
        False,
        effect=Effect.TRAINING,
        help="In pretraining, the probabilities that are compared with the teacher's words sum to one over the "
        "positions of a text instead of over the vocabulary. Costs the vocabulary's logits of every position.",
        paper="yes: a mistake in ALBEF's code until March 2022 (issue 58), after its and CODIS's numbers",
    )
    untrained_statement_teacher: bool = setting(
        False,
        effect=Effect.TRAINING,
        help="NLVR2's teacher starts from published text weights and a random image tower, not from what the student "
        "starts from.",
        paper="yes: ALBEF's NLVR.py copies the student before it loads the pretrained weights",
    )
    undistilled_answers: bool = setting(
        False,
        effect=Effect.TRAINING,
        help="VQA learns without distillation, whatever `model.teacher.distillation` says.",
        paper="yes: until July 2022 ALBEF's code did not hand its weight on (issue 90)",
    )
