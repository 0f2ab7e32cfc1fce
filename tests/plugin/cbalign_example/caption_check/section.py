"""The task and its evaluation in a spec; without torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, EvaluationSection, ItemKind, TaskSection, setting
from cbalign.parts.kinds import Split


class CaptionCheck(TaskSection):
    """Does a caption belong to an image? Learned from right captions and, as wrong ones, those of other images."""

    builds = "cbalign_example.caption_check.kit:Kit"
    runtime = "cbalign_example.caption_check.runtime:Runtime"

    items: ClassVar[ItemKind] = "checked-captions"
    text_nouns: ClassVar[tuple[str, str]] = ("caption", "captions")
    evaluation: ClassVar[str] = "caption-accuracy"
    graphs: ClassVar[tuple[str, ...]] = ("classify",)

    kind: Literal["caption-check"] = setting(effect=Effect.ARCHITECTURE, help="Which task.")


class CaptionAccuracy(EvaluationSection):
    """How often the model is right about a caption, and for how many images it is right about both captions."""

    builds = "cbalign.tasks.classification.metric:AccuracyEvaluator"

    kind: Literal["caption-accuracy"] = setting(effect=Effect.EVALUATION, help="Which evaluation.")
    on: Split = setting("validation", effect=Effect.EVALUATION, help="Which split.")
    bootstrap: int = setting(1000, ge=0, effect=Effect.EVALUATION, help="Resamples for the 95 % intervals; 0: none.")
    batch_size: int = setting(64, ge=1, effect=Effect.RUNTIME, help="Items per forward pass.")
