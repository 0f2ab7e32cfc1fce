"""The folder of a run's checkpoints: which there are, by the names `step-N`; see `cbalign.engine.checkpoint`."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

LATEST, BEST = "latest", "best"
_CHECKPOINT = re.compile(r"step-(\d+)")


def names_checkpoint(path: Path) -> bool:
    """Whether a path has the form of a checkpoint in the folder of a run: `RUN/checkpoints/step-N`."""
    return _CHECKPOINT.fullmatch(path.name) is not None and path.parent.name == "checkpoints"


def list_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in a run's `checkpoints` folder, oldest first."""
    if not folder.is_dir():
        return []
    found = [(int(m[1]), path) for path in folder.iterdir() if (m := _CHECKPOINT.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint, from its name."""
    return int(checkpoint.name.removeprefix("step-"))


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps of the complete checkpoints in a run's `checkpoints` folder, in order."""
    return [step_of(path) for path in list_checkpoints(folder)]


def kept_best(folder: Path) -> str | None:
    """The name of the checkpoint in a run's `checkpoints` folder that `train.keep_best` keeps; None without one."""
    with suppress(OSError):
        return (folder / BEST).read_text(encoding="utf-8").strip()
    return None


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in a run's `checkpoints` folder."""
    found = list_checkpoints(folder)
    return found[-1] if found else None
