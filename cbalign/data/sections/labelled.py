"""Files of statements and of premises with labels."""

from __future__ import annotations

from typing import ClassVar, Literal

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


class SNLIVESource(SourceSection):
    """Hypotheses about images: SNLI-VE's JSON lines, or ALBEF's lists (`image`, `sentence`, `label`)."""

    builds = "cbalign.data.snli_ve:open_section"
    items: ClassVar[tuple[ItemKind, ...]] = ("premises",)

    source: Literal["snli-ve"] = setting(effect=DATA, help="Which kind of source this is.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="Files, read one after the other.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder of Flickr30k's images, `<id>.jpg`; paths cannot leave it."
    )
