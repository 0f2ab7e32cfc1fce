"""A bundle as one zip file."""

from __future__ import annotations

import zipfile
from pathlib import Path

from cbalign_example.sections import ZipTarget


def write_zip(section: ZipTarget, bundle: Path, output: Path) -> None:
    """Write `bundle.zip` into the existing folder `output`."""
    level = section.compression
    with zipfile.ZipFile(output / "bundle.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for file in sorted(path for path in bundle.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(bundle).as_posix())
