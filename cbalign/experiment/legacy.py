"""The `legacy` section: bugs of the published code that affect its published numbers; off by default."""

from __future__ import annotations

from cbalign.parts.section import Effect, Section, setting


class LegacySection(Section):
    """Bugs of ALBEF's code at the time of its paper."""

    soft_labels_over_positions: bool = setting(
        False,
        effect=Effect.TRAINING,
        help="In pretraining, apply the softmax of masked-language distillation over the positions of a text instead "
        "of over the vocabulary. Computes the vocabulary logits of every position.",
        paper="yes: a mistake in ALBEF's code until March 2022 (issue 58), after its and CODIS's numbers",
    )
    untrained_statement_teacher: bool = setting(
        False,
        effect=Effect.TRAINING,
        help="Initialise NLVR2's teacher with published text weights and a random image tower, not as a copy of the "
        "student.",
        paper="yes: ALBEF's NLVR.py copies the student before it loads the pretrained weights",
    )
    undistilled_answers: bool = setting(
        False,
        effect=Effect.TRAINING,
        help="Train VQA without distillation, regardless of `model.teacher.distillation`.",
        paper="yes: until July 2022 ALBEF's code did not pass on its weight (issue 90)",
    )
