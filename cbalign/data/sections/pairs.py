"""Files of image-text pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cbalign.data.data_set_names import data_sets_of_files
from cbalign.parts import Effect, ItemKind, SourceSection, setting
from cbalign.parts.kinds import Split

DATA = Effect.DATA


class JsonSource(SourceSection):
    """ALBEF's JSON lists: objects with `image`, `caption` (text or list) and optionally `image_id`."""

    builds = "cbalign.data.json_pairs:open_section"

    source: Literal["json"] = setting(effect=DATA, help="Kind of source.")
    files: tuple[str, ...] = setting(
        effect=DATA, min_length=1, path="file", help="JSON files, read one after the other."
    )
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder of the images; paths are relative to it and must stay inside."
    )

    def data_sets(self) -> tuple[str, ...]:
        """Return names derived from the files."""
        return data_sets_of_files(self.files)

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> JsonSource | None:
        """Read a JSON list or JSON lines of pairs."""
        if items != "pairs" or path.suffix.lower() not in (".json", ".jsonl"):
            return None
        return cls(source="json", files=(str(path.resolve()),), root=str(path.resolve().parent))


class CsvSource(SourceSection):
    """CSV or TSV files with one pair per line."""

    builds = "cbalign.data.csv_pairs:open_section"

    source: Literal["csv"] = setting(effect=DATA, help="Kind of source.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="CSV files with a header line.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder of the images; paths are relative to it and must stay inside."
    )
    image: str = setting("image", effect=DATA, help="Name of the column with the image path.")
    caption: str = setting("caption", effect=DATA, help="Name of the column with the caption.")
    delimiter: str = setting(",", effect=DATA, min_length=1, max_length=1, help="Separator of columns.")

    def data_sets(self) -> tuple[str, ...]:
        """Return names derived from the files."""
        return data_sets_of_files(self.files)

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> CsvSource | None:
        """Read a table of pairs with the columns `image` or `path`, and `caption` or `label`."""
        delimiter = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower())
        if items != "pairs" or delimiter is None:
            return None
        files, root = (str(path.resolve()),), str(path.resolve().parent)
        header = _header(path).split(delimiter)
        image = "path" if "path" in header and "image" not in header else "image"
        caption = "label" if "label" in header and "caption" not in header else "caption"
        return cls(source="csv", files=files, root=root, delimiter=delimiter, image=image, caption=caption)


class KarpathySource(SourceSection):
    """A data set with Karpathy's splits: `dataset_flickr30k.json` or `dataset_coco.json`."""

    builds = "cbalign.data.karpathy:open_section"

    source: Literal["karpathy"] = setting(effect=DATA, help="Kind of source.")
    file: str = setting(effect=DATA, path="file", help="The JSON file with all splits.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder of the images; paths are relative to it and must stay inside."
    )
    split: Split = setting(effect=DATA, help="Split; `train` includes COCO's `restval`.")
    entries: Literal["captions", "images"] = setting(
        "captions",
        effect=DATA,
        help="Items of an epoch: each caption once, or each image once with a random caption.",
        paper="captions (ALBEF)",
    )

    def data_sets(self) -> tuple[str, ...]:
        """Return the name derived from the file."""
        return data_sets_of_files([self.file])


class ShardSource(SourceSection):
    """Webdataset shards: tar files of `name.jpg` with `name.txt` or `name.json`."""

    builds = "cbalign.data.shards:open_section"

    source: Literal["webdataset"] = setting(effect=DATA, help="Kind of source.")
    shards: tuple[str, ...] = setting(
        effect=DATA,
        min_length=1,
        path="shards",
        help="Tar files; `{00000..00099}` expands to each number in the range.",
    )

    def data_sets(self) -> tuple[str, ...]:
        """Return names derived from the shards."""
        return data_sets_of_files(self.shards)


class FolderSource(SourceSection):
    """A folder with a folder of images for each class; the caption of an image is the name of its folder."""

    builds = "cbalign.data.folders:open_section"

    source: Literal["folders"] = setting(effect=DATA, help="Kind of source.")
    root: str = setting(effect=DATA, path="folder", help="The folder of the class folders.")

    def data_sets(self) -> tuple[str, ...]:
        """Return the name of the folder."""
        return data_sets_of_files([self.root])

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> FolderSource | None:
        """Read a folder of class folders."""
        return cls(source="folders", root=str(path.resolve())) if items == "pairs" and path.is_dir() else None


def _header(path: Path) -> str:
    """Return the first line of a table; empty if it cannot be read, which opening the source reports."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.readline().strip().replace('"', "")
    except (OSError, UnicodeDecodeError):
        return ""
