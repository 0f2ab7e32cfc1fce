"""Changed bundles, half of them with a manifest that agrees.

If the manifest was not made to agree, a changed file is refused. If it was, the bundle is refused with a `BundleError`,
or it opens and answers, or says in a `CbalignError` why it cannot.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from cbalign.runtime.bundle import GOLDEN, MANIFEST, BundleFolder, sealed
from cbalign.runtime.golden import read_golden
from cbalign.runtime.session import Session
from cbalign.runtime.task import task_runtime
from tests.runtime.conftest import write_bundle
from tests.trials.mutation import Base, Mutation, require
from tests.trials.trial import outcome

_EXPORTED = Path(__file__).parents[1] / "compatibility" / "bundles"


class Bundles(Mutation):
    """Changed bundles."""

    name, full = "bundles", 1_500

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        write_bundle(folder / "by-hand")
        self._roots = {"by hand": folder / "by-hand"}
        self._roots |= {path.name: path for path in sorted(_EXPORTED.iterdir()) if path.is_dir()}
        self._bases = [Base(name, _contents(root)) for name, root in self._roots.items()]
        self._bases = [self._bases[0], *self._bases]  # the small one twice as often

    def bases(self) -> list[Base]:
        """One written by hand, and bundles of version 0.1.0 of each task."""
        return self._bases

    def judge(self, base: Base, files: dict[str, bytes], number: int) -> str:
        """Verify and open a bundle, and compute with it."""
        place = self.folder / "changed"
        shutil.rmtree(place, ignore_errors=True)
        for name, content in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        changed = {name for name in files if files[name] != base.files[name]}
        agrees = number % 2 == 0 and _seal(place)
        found = outcome(lambda: _use(place, base.name == "by hand"))
        if found == "accepted" and not agrees:
            require(not changed - {MANIFEST}, f"accepted although {changed} changed")
        return f"{found}{' (manifest agrees)' if agrees else ''}"


def _contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _seal(place: Path) -> bool:
    """Let the manifest list the files as they are; False if it is no manifest."""
    import hashlib

    try:
        values = json.loads((place / MANIFEST).read_bytes())
        for name in values["files"]:
            content = (place / name).read_bytes()
            values["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        values.pop("sha256", None)
        (place / MANIFEST).write_text(sealed(values))
    except (ValueError, KeyError, TypeError, OSError, AttributeError, RecursionError):
        return False
    return True


def _use(place: Path, by_hand: bool) -> None:
    folder = BundleFolder.open(place)
    folder.verify()
    session = Session.open(place, "cpu")
    if by_hand:  # its spec is not complete
        require(session.image_size <= 4_096, f"images of {session.image_size} pixels")
        session.embed_images(np.zeros((2, session.image_size, session.image_size, 3), np.uint8))
        session.encode_texts(["a red fox", "ü" * 300])
        return
    _ = folder.loaded
    runtime = task_runtime(folder.task)
    pixels, texts, _ = read_golden(place / GOLDEN, session.precision)
    runtime.golden_outputs(runtime.open(session), pixels, texts)
