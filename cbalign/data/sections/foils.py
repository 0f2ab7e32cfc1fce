"""Files of compositional foils: captions that differ from the right one in a detail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Literal

from cbalign.parts import Effect, ItemKind, SourceSection, setting

DATA = Effect.DATA
_SUFFIXES = (".json", ".jsonl")


class SugarCrepeSource(SourceSection):
    """Foils in SugarCrepe's form: `filename`, `caption`, `negative_caption`; each file is a category."""

    builds = "cbalign.data.foils:open_sugarcrepe"
    items: ClassVar[tuple[ItemKind, ...]] = ("foils",)

    source: Literal["sugarcrepe"] = setting(effect=DATA, help="Kind of source.")
    files: tuple[str, ...] = setting(
        effect=DATA, min_length=1, path="file", help="JSON files: a list of objects, or an object of them."
    )
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder of the images; paths are relative to it and must stay inside."
    )

    def data_sets(self) -> tuple[str, ...]:
        """Return the data set of the images, COCO."""
        return ("coco",)

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> SugarCrepeSource | None:
        """Read a file whose entries have a `negative_caption`."""
        if items != "foils" or not _has_field(path, "negative_caption"):
            return None
        return cls(source="sugarcrepe", files=(str(path.resolve()),), root=str(path.resolve().parent))


class WinogroundSource(SourceSection):
    """Foils in Winoground's form: `image_0`, `image_1`, `caption_0`, `caption_1`, and a `tag` as category."""

    builds = "cbalign.data.foils:open_winoground"
    items: ClassVar[tuple[ItemKind, ...]] = ("foils",)

    source: Literal["winoground"] = setting(effect=DATA, help="Kind of source.")
    files: tuple[str, ...] = setting(
        effect=DATA, min_length=1, path="file", help="JSON lists or JSON lines (`examples.jsonl`)."
    )
    root: str = setting(
        ".",
        effect=DATA,
        path="folder",
        help="Folder of the images; names are relative to it, `.png` is added to names without suffix.",
    )

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> WinogroundSource | None:
        """Read a file whose entries have a `caption_1`."""
        if items != "foils" or not _has_field(path, "caption_1"):
            return None
        return cls(source="winoground", files=(str(path.resolve()),), root=str(path.resolve().parent))


def _has_field(path: Path, name: str) -> bool:
    """Whether the beginning of a JSON file mentions a field."""
    if path.suffix.lower() not in _SUFFIXES:
        return False
    try:
        with open(path, encoding="utf-8-sig") as file:
            return json.dumps(name) in file.read(1 << 16)
    except (OSError, UnicodeDecodeError):
        return False
