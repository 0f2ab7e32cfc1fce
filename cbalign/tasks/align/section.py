"""Pretraining and retrieval in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ItemKind, TaskSection, setting

ARCHITECTURE = Effect.ARCHITECTURE


class PretrainTask(TaskSection):
    """Pretraining with alignment, matching and masked-language objectives."""

    builds = "cbalign.tasks.align.kit:AlignmentKit"
    runtime = "cbalign.tasks.align.runtime:AlignmentRuntime"

    items: ClassVar[ItemKind] = "pairs"
    text_nouns: ClassVar[tuple[str, str]] = ("caption", "captions")
    evaluation: ClassVar[str] = "retrieval"
    aligns: ClassVar[bool] = True
    graphs: ClassVar[tuple[str, ...]] = ("image", "text", "codebook", "match")
    graph_needs: ClassVar[dict[str, str]] = {"codebook": "codebook", "match": "matching"}

    pretrains: ClassVar[bool] = True

    kind: Literal["pretrain"] = setting("pretrain", effect=ARCHITECTURE, help="Task.")


class RetrievalTask(TaskSection):
    """Fine-tuning for image-text retrieval: the objectives of pretraining on the pairs of one data set."""

    builds = "cbalign.tasks.align.kit:AlignmentKit"
    runtime = "cbalign.tasks.align.runtime:AlignmentRuntime"

    items: ClassVar[ItemKind] = "pairs"
    text_nouns: ClassVar[tuple[str, str]] = ("caption", "captions")
    evaluation: ClassVar[str] = "retrieval"
    aligns: ClassVar[bool] = True
    graphs: ClassVar[tuple[str, ...]] = ("image", "text", "codebook", "match")
    graph_needs: ClassVar[dict[str, str]] = {"codebook": "codebook", "match": "matching"}

    kind: Literal["retrieval"] = setting(effect=ARCHITECTURE, help="Task.")
