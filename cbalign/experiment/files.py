"""The file system that specs are read from: the disk, or a substitute for it."""

from __future__ import annotations

import os
from pathlib import Path

from cbalign.experiment.diagnostics import Diagnostic, InvalidSpec
from cbalign.experiment.document import SourceText
from cbalign.experiment.reader import read_file
from cbalign.experiment.recipes import candidates, display_name


class Files:
    """The file system on disk."""

    def read(self, path: Path) -> SourceText:
        """Read the text of a file.

        Raises:
            InvalidSpec: missing, unreadable, too long or not UTF-8.
        """
        return read_file(path, self.name(path))

    def locate(self, reference: str, folder: Path) -> Path | None:
        """Resolve `extends: reference` in a file of `folder`: a file below the folder, or else a recipe."""
        return next((path for path in candidates(reference, folder) if self.exists(path)), None)

    def exists(self, path: Path) -> bool:
        """Whether a file exists."""
        return os.path.isfile(path)  # False also where the name is too long

    def specs_below(self, folder: Path) -> list[str]:
        """List the spec files in a folder, relative to it, for suggestions."""
        return [path.name for path in folder.glob("*.y*ml")]

    def name(self, path: Path) -> str:
        """Return the name of a file for messages."""
        return display_name(path)


class CompleteFiles(Files):
    """Files on disk that contain a whole spec each, such as those of bundles, which others may have written."""

    def read(self, path: Path) -> SourceText:
        """Read the text of a regular file.

        Raises:
            InvalidSpec: missing, no regular file, unreadable, too long or not UTF-8.
        """
        if not self.exists(path):
            raise InvalidSpec([Diagnostic(f"no file {self.name(path)}")])
        return super().read(path)

    def locate(self, reference: str, folder: Path) -> Path | None:
        """Refuse to read another file.

        Raises:
            InvalidSpec: always.
        """
        raise InvalidSpec([Diagnostic("`extends`: the spec of a bundle is complete and extends no file")])


DISK = Files()
COMPLETE = CompleteFiles()
