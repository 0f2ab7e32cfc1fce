"""Files of statements and of premises with labels."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from cbalign.parts import Effect, ItemKind, SourceSection, setting

DATA = Effect.DATA


class NLVR2Source(SourceSection):
    """Statements about two images: NLVR2's JSON lines, or ALBEF's lists (`images`, `sentence`, `label`)."""

    builds = "cbalign.data.nlvr2:open_section"
    items: ClassVar[tuple[ItemKind, ...]] = ("statements",)

    source: Literal["nlvr2"] = setting(effect=DATA, help="Which kind of source this is.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="Files, read one after the other.")
    root: str = setting(
        ".",
        effect=DATA,
        path="folder",
        help="Folder of the images. Published lines name no files: theirs are `<pair>-img0.png` and `<pair>-img1.png` "
        "in it, or below a folder of the split's name, below the line's `directory` where it has one.",
    )

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> Self | None:
        """Return the source for one file with images in its folder."""
        if items != "statements":
            return None
        return cls(source="nlvr2", files=(str(path),), root=str(path.parent))


class SNLIVESource(SourceSection):
    """Hypotheses about images: SNLI-VE's JSON lines, or ALBEF's lists (`image`, `sentence`, `label`)."""

    builds = "cbalign.data.snli_ve:open_section"
    items: ClassVar[tuple[ItemKind, ...]] = ("premises",)

    source: Literal["snli-ve"] = setting(effect=DATA, help="Which kind of source this is.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="Files, read one after the other.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder of Flickr30k's images, `<id>.jpg`; paths cannot leave it."
    )

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> Self | None:
        """Return the source for one file with images in its folder."""
        if items != "premises":
            return None
        return cls(source="snli-ve", files=(str(path),), root=str(path.parent))
