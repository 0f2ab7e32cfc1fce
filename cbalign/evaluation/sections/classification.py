"""Zero-shot classification in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from cbalign.evaluation.sections.probe import labelled
from cbalign.parts import Effect, EvaluationSection, RuleError, SourceSection, setting
from cbalign.parts.kinds import Split

EVALUATION = Effect.EVALUATION

VectorProtocol = Literal["dual", "code"]
"""What images and texts are compared by: `dual`, the cosine of embeddings; `code`, the overlap of codes."""


class ZeroShotEvaluation(EvaluationSection):
    """Zero-shot classification: images are compared with sentences that name the classes (Radford et al., 2021)."""

    builds = "cbalign.evaluation.zero_shot:ZeroShotEvaluator"
    identity: ClassVar[tuple[str, ...]] = ("kind", "on", "images")
    alongside: ClassVar[str] = "retrieval"

    kind: Literal["zero_shot"] = setting(effect=EVALUATION, help="Kind of evaluation.")
    on: Split = setting("test", effect=EVALUATION, help="Split whose captions are class labels; see `images`.")
    images: str | None = setting(
        None,
        effect=EVALUATION,
        path="file or folder",
        help="Labelled images to measure on instead of a split: a folder of class folders, or a CSV file with the "
        "columns `path` and `label`.",
    )
    classes: tuple[str, ...] = setting(
        (),
        effect=EVALUATION,
        help="Class labels; default: those of `prompts`, or else every label of the images. Underscores are read as "
        "spaces.",
    )
    templates: tuple[str, ...] = setting(
        (),
        effect=EVALUATION,
        examples=[["a photo of a {}.", "a drawing of a {}."]],
        help="Sentences with {} in the place of the class; the vectors of a class are averaged.",
    )
    prompts: str | None = setting(
        None,
        effect=EVALUATION,
        path="file",
        help="CSV file with the columns `class`, `template` and, optionally, `name` (the words for the class). A row "
        "without class is a template of all classes.",
    )
    protocols: tuple[VectorProtocol, ...] = setting(
        ("dual",),
        min_length=1,
        effect=EVALUATION,
        help="`dual`: cosine of embeddings; `code`: overlap of codes.",
    )
    bootstrap: int = setting(1000, ge=0, effect=EVALUATION, help="Resamples for the 95 % interval; 0: none.")
    batch_size: int = setting(64, ge=1, effect=Effect.RUNTIME, help="Items per forward pass.")

    @model_validator(mode="after")
    def _has_templates(self) -> ZeroShotEvaluation:
        if not self.templates and self.prompts is None:
            raise RuleError(
                "classes without templates: set templates, such as ['a photo of a {}.'], or prompts, a CSV file",
                at=("templates", "classes", "kind"),
            )
        for template in self.templates:
            if "{}" not in template:
                raise RuleError(f"the template {template!r} has no {{}} in the place of the class", at=("templates",))
        if twice := [each for each in self.classes if self.classes.count(each) > 1]:
            raise RuleError(f"classes lists {twice[0]!r} twice", at=("classes",))
        return self

    @property
    def own_data(self) -> str | None:
        """Return `images`."""
        return self.images

    def own_source(self) -> SourceSection:
        """Return the source that reads `images`."""
        assert self.images is not None
        return labelled(self.images)

    @property
    def measured(self) -> frozenset[str]:
        """Return the protocols."""
        return frozenset(self.protocols)

    @property
    def needs(self) -> dict[str, str]:
        """Return the requirement of `code`: a codebook."""
        return {protocol: "codebook" for protocol in self.protocols if protocol == "code"}
