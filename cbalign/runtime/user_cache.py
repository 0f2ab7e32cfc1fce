"""The user's cache folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_cache(name: str) -> Path:
    """cbalign's folder `name` among the caches of the current user; it may not exist yet.

    `CBALIGN_CACHE` names another place for all of cbalign's caches.
    """
    if own := os.environ.get("CBALIGN_CACHE"):
        return Path(own) / name
    if given := os.environ.get("XDG_CACHE_HOME"):
        base = Path(given)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "cbalign" / name
