"""Where spec files are read from: the disk, unless something stands in for it."""

from __future__ import annotations

from pathlib import Path

from cbalign.experiment.document import SourceText
from cbalign.experiment.reader import read_file
from cbalign.experiment.recipes import candidates, display_name


class Files:
    """The disk."""

    def read(self, path: Path) -> SourceText:
        """The text of a file.

        Raises:
            InvalidSpec: missing, unreadable, too long or not UTF-8.
        """
        return read_file(path, self.name(path))

    def locate(self, reference: str, folder: Path) -> Path | None:
        """The file that `extends: reference` in a file of `folder` means: below the folder, or else a recipe."""
        return next((path for path in candidates(reference, folder) if self.exists(path)), None)

    def exists(self, path: Path) -> bool:
        """Whether a file is there."""
        return path.is_file()

    def specs_below(self, folder: Path) -> list[str]:
        """Spec files in a folder, by what a file in it would call them; for suggestions."""
        return [path.name for path in folder.glob("*.y*ml")]

    def name(self, path: Path) -> str:
        """What messages call a file."""
        return display_name(path)


DISK = Files()
