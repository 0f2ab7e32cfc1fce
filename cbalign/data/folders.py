"""Folders of images, one for each class, as torchvision's `ImageFolder` and CLIP_benchmark's data sets have them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cbalign.data.pairs import PairBuilder, PairFiles
from cbalign.data.sections.pairs import FolderSource
from cbalign.errors import DataError
from cbalign.parts import ItemKind


def open_section(section: FolderSource, items: ItemKind) -> PairFiles:
    """Open the source that a section describes."""
    return open_folders(section.root)


def open_folders(root: str | Path) -> PairFiles:
    """Read the images of each folder below `root`; the caption is the name of the folder.

    Folders and files are read in the order of their names, files whose suffix is no image format are ignored.

    Raises:
        DataError: the root does not exist, or no folder in it has an image.
    """
    pairs = PairBuilder(root, unit="image")
    pairs.start_file(root)
    suffixes = Image.registered_extensions()
    for folder in sorted(path for path in Path(root).iterdir() if path.is_dir() and not path.name.startswith(".")):
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in suffixes:
                pairs.add(len(pairs) + 1, str(file.relative_to(root)), [folder.name])
    if not len(pairs):
        raise DataError(
            f"{root}: no folder in it has images", remedy="Put the images of each class into a folder of its name."
        )
    return pairs.finish()
