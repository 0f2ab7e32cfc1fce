"""Images with their captions in text files next to them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cbalign.data.image import decode
from cbalign.data.items import Pair
from cbalign.errors import DataError
from cbalign.parts import ItemKind
from cbalign_example.caption_check.items import Captions
from cbalign_example.sections import SidecarSource


class Sidecar:
    """Implements `cbalign.data.source.Source` for pairs.

    Args:
        files: the images; each has a text file of the same name.
        folder: what messages call the source.
    """

    def __init__(self, files: list[Path], folder: Path) -> None:
        self.name = folder.name
        self._files = files
        self._captions = [file.with_suffix(".txt").read_text("utf-8").strip() for file in files]

    def __len__(self) -> int:
        return len(self._files)

    def item(self, index: int) -> Pair:
        """Return the name of image `index` and its caption."""
        return Pair(self._files[index].name, (self._captions[index],), image_id=index)

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """Decode the image of item `index`."""
        return (decode(self._files[index]),)

    def read(self, index: int) -> tuple[bytes, ...]:
        """Read the image file of item `index`."""
        try:
            return (self._files[index].read_bytes(),)
        except OSError as error:
            raise DataError(f"{self._files[index]}: cannot be read ({error})") from error

    def describe(self) -> str:
        """Describe the source in one line."""
        return f"{self.name}: {len(self)} images with captions in text files"


def open_sidecar(section: SidecarSource, items: ItemKind) -> Sidecar | Captions:
    """Open the folder that a spec names, with pairs or with the items of the task `caption-check`.

    Raises:
        DataError: it has no images with captions.
    """
    folder = Path(section.folder)
    files = sorted(file for file in folder.glob("*.png") if file.with_suffix(".txt").is_file())
    files = files[round(section.start * len(files)) : round(section.end * len(files))]
    if not files:
        raise DataError(f"{folder} has no `name.png` with `name.txt`", remedy="Check data.*.folder, start and end.")
    pairs = Sidecar(files, folder)
    return Captions(pairs) if items == "checked-captions" else pairs
