"""Files of labelled statements and hypotheses."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from cbalign.parts import Effect, ItemKind, SourceSection, setting

DATA = Effect.DATA


class NLVR2Source(SourceSection):
    """Statements about two images: NLVR2's JSON lines, or ALBEF's lists (`images`, `sentence`, `label`)."""

    builds = "cbalign.data.nlvr2:open_section"
    items: ClassVar[tuple[ItemKind, ...]] = ("statements",)

    source: Literal["nlvr2"] = setting(effect=DATA, help="Kind of source.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="Files, read one after the other.")
    root: str = setting(
        ".",
        effect=DATA,
        path="folder",
        help="Image folder. For published files, images are `<pair>-img0.png` and `<pair>-img1.png` in this folder or "
        "in its subfolder for the split, below the line's `directory` if it has one.",
    )

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> NLVR2Source | None:
        """Read JSON lines or a JSON list of statements."""
        if items != "statements" or path.suffix.lower() not in (".json", ".jsonl"):
            return None
        return cls(source="nlvr2", files=(str(path.resolve()),), root=str(path.resolve().parent))


class SNLIVESource(SourceSection):
    """Hypotheses about images: SNLI-VE's JSON lines, or ALBEF's lists (`image`, `sentence`, `label`)."""

    builds = "cbalign.data.snli_ve:open_section"
    items: ClassVar[tuple[ItemKind, ...]] = ("premises",)

    source: Literal["snli-ve"] = setting(effect=DATA, help="Kind of source.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="Files, read one after the other.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder of Flickr30k's images, `<id>.jpg`; paths must stay inside."
    )

    def data_sets(self) -> tuple[str, ...]:
        """Return the data set of the images."""
        return ("flickr30k",)

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> SNLIVESource | None:
        """Read JSON lines or a JSON list of hypotheses."""
        if items != "premises" or path.suffix.lower() not in (".json", ".jsonl"):
            return None
        return cls(source="snli-ve", files=(str(path.resolve()),), root=str(path.resolve().parent))
