"""Remove runs, each completely or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from cbalign.engine.files import UNFINISHED, storage_errors, write_durably
from cbalign.engine.run import LATEST, RunFolder, find_runs, open_run
from cbalign.errors import CheckpointError, UsageError


def check_removable(runs: Path, run: RunFolder) -> None:
    """Refuse runs that must not be removed.

    Raises:
        UsageError: the run is in another folder, is a link, or is being trained.
    """
    if run.folder.is_symlink():
        raise UsageError(f"{run.folder} is a link: nothing was removed.", remedy="Remove the link itself with rm.")
    if run.folder.resolve().parent != runs.resolve():
        raise UsageError(
            f"{run.folder} is not in {runs}: nothing was removed.",
            remedy=f"Give its folder: --runs-dir {run.folder.parent}",
        )
    with run.lock():
        pass


def remove(runs: Path, run: RunFolder) -> None:
    """Remove a run, and let `latest` name the newest remaining run.

    Raises:
        UsageError: the run must not be removed.
        StorageError: it cannot be removed.
    """
    check_removable(runs, run)
    was_latest = _is_latest(runs, run)
    doomed = run.folder.with_name(f"{UNFINISHED}{run.folder.name}")
    with run.lock(), storage_errors(run.folder):
        os.rename(run.folder, doomed)  # if killed now, no incomplete run remains
        shutil.rmtree(doomed)
    if was_latest:
        left = find_runs(runs)
        if left:
            write_durably(runs / LATEST, f"{left[-1].folder.name}\n".encode())
        else:
            (runs / LATEST).unlink(missing_ok=True)


def _is_latest(runs: Path, run: RunFolder) -> bool:
    with suppress(CheckpointError):
        return open_run(runs / LATEST).folder.resolve() == run.folder.resolve()
    return False
