"""Files of image-text pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from cbalign.parts import Effect, ItemKind, SourceSection, setting
from cbalign.parts.kinds import Split

DATA = Effect.DATA


class JsonSource(SourceSection):
    """ALBEF's JSON lists: objects with `image`, `caption` (text or list) and, optionally, `image_id`."""

    builds = "cbalign.data.json_pairs:open_section"

    source: Literal["json"] = setting(effect=DATA, help="Which kind of source this is.")
    files: tuple[str, ...] = setting(
        effect=DATA, min_length=1, path="file", help="JSON files, read one after the other."
    )
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder that image paths are relative to and cannot leave."
    )

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> Self | None:
        """Return the source for one file with images in its folder."""
        if items != "pairs" or path.suffix != ".json":
            return None
        return cls(source="json", files=(str(path),), root=str(path.parent))


class CsvSource(SourceSection):
    """A CSV or TSV file with one pair per line."""

    builds = "cbalign.data.csv_pairs:open_section"

    source: Literal["csv"] = setting(effect=DATA, help="Which kind of source this is.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="CSV files with a header line.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder that image paths are relative to and cannot leave."
    )
    image: str = setting("image", effect=DATA, help="Name of the column with the image path.")
    caption: str = setting("caption", effect=DATA, help="Name of the column with the caption.")
    delimiter: str = setting(",", effect=DATA, min_length=1, max_length=1, help="What separates columns.")

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> Self | None:
        """Return the source for one file with images in its folder."""
        if items != "pairs" or path.suffix == ".json":
            return None
        delimiter = "\t" if path.suffix == ".tsv" else ","
        return cls(source="csv", files=(str(path),), root=str(path.parent), delimiter=delimiter)


class KarpathySource(SourceSection):
    """One of Karpathy's splits: `dataset_flickr30k.json` or `dataset_coco.json`."""

    builds = "cbalign.data.karpathy:open_section"

    source: Literal["karpathy"] = setting(effect=DATA, help="Which kind of source this is.")
    file: str = setting(effect=DATA, path="file", help="The JSON file with all splits.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder that image paths are relative to and cannot leave."
    )
    split: Split = setting(effect=DATA, help="Which split; `train` includes COCO's `restval`.")
    entries: Literal["captions", "images"] = setting(
        "captions",
        effect=DATA,
        help="An epoch shows each caption once, or each image once with one of its captions drawn anew.",
        paper="captions (ALBEF)",
    )


class ShardSource(SourceSection):
    """Webdataset shards: tar files of `name.jpg` with `name.txt` or `name.json`."""

    builds = "cbalign.data.shards:open_section"

    source: Literal["webdataset"] = setting(effect=DATA, help="Which kind of source this is.")
    shards: tuple[str, ...] = setting(
        effect=DATA,
        min_length=1,
        path="shards",
        help="Tar files; `{00000..00099}` stands for each number in the range.",
    )
