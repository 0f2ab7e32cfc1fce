"""The `objectives` section: the four terms of the loss. Weight 0 switches a term and its cost off."""

from __future__ import annotations

from typing import Literal

from cbalign.parts.section import Effect, Section, setting, subsection

TRAINING = Effect.TRAINING


class ContrastiveSection(Section):
    """Instance alignment L_ica (CODIS eq. 4-5)."""

    weight: float = setting(1.0, ge=0, effect=TRAINING, help="Factor of the term in the loss.", paper="1 (CODIS)")
    intra_modal: bool = setting(
        True,
        effect=TRAINING,
        help="Also align image with image and text with text.",
        paper="yes (CODIS), no (ALBEF)",
    )
    reduction: Literal["mean", "sum"] = setting(
        "mean",
        effect=TRAINING,
        help="Average the cross-entropies or sum them.",
        paper="sum in print, mean in its siblings",
    )
    positives: Literal["image", "pair"] = setting(
        "image",
        effect=TRAINING,
        help="All captions of an image are positives of it and share the target, or only the pair itself.",
        paper="pair (ALBEF pretraining), image (ALBEF retrieval)",
    )


class CodebookObjectiveSection(Section):
    """Codebook loss L_code (CODIS section 3.1)."""

    weight: float = setting(
        1.0,
        ge=0,
        effect=TRAINING,
        switch=Effect.ARCHITECTURE,
        help="Factor of the term in the loss.",
        paper="1 (CODIS)",
    )
    target: Literal["cross", "same", "both"] = setting(
        "cross",
        effect=TRAINING,
        help="Whose plan teaches whom: the other modality's teacher, the same modality's, or both averaged.",
        paper="cross in the text, same in the pseudo-code",
    )


class MatchingSection(Section):
    """Image-text matching L_itm."""

    weight: float = setting(
        1.0,
        ge=0,
        effect=TRAINING,
        switch=Effect.ARCHITECTURE,
        help="Factor of the term in the loss.",
        paper="1 (ALBEF)",
    )
    hardness: float = setting(
        1.0,
        ge=0,
        le=1,
        effect=TRAINING,
        help="Factor on the similarities that negatives are drawn by: 1 as published, 0 all alike.",
        paper="1 (ALBEF)",
    )
    ramp_epochs: float = setting(
        0.0,
        ge=0,
        effect=TRAINING,
        help="Epochs over which the hardness grows from 0; a match head that meets only the hardest negatives from "
        "the start may stay at chance for thousands of steps.",
        paper="0 (ALBEF)",
    )


class MaskedLanguageSection(Section):
    """Masked language modelling L_mlm."""

    weight: float = setting(
        1.0,
        ge=0,
        effect=TRAINING,
        switch=Effect.ARCHITECTURE,
        help="Factor of the term in the loss.",
        paper="1 (ALBEF)",
    )
    probability: float = setting(
        0.15, gt=0, lt=1, effect=TRAINING, help="Share of tokens that are predicted.", paper="0.15 (ALBEF)"
    )


class ObjectivesSection(Section):
    """The terms of the loss."""

    contrastive: ContrastiveSection = subsection(ContrastiveSection, help="Instance alignment.")
    codebook: CodebookObjectiveSection = subsection(CodebookObjectiveSection, help="Codebook alignment.")
    matching: MatchingSection = subsection(MatchingSection, help="Image-text matching.")
    masked_language: MaskedLanguageSection = subsection(MaskedLanguageSection, help="Masked language modelling.")
