"""The words that resume a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cbalign.data.memory import ARGUMENTS
from cbalign.engine.files import shown_path
from cbalign.errors import SpecError
from cbalign.experiment.load import load_experiment

if TYPE_CHECKING:
    from cbalign.engine.run import RunFolder


def resume_command(run: RunFolder, overrides: Sequence[str] = (), *, processes: int = 1) -> str:
    """Return the command that resumes a run; for data given from Python, the call that gives them again."""
    folder = str(shown_path(run.folder))
    if given := _given(run):
        return f"cbalign.resume({', '.join([repr(folder), *(f'{name}=…' for name in given)])})"
    words = ["cbalign", "train", folder, *(f"--set={o}" for o in overrides)]
    return shlex.join(words if processes == 1 else [*words, f"--nproc={processes}"])


def _given(run: RunFolder) -> list[str]:
    """The arguments of `cbalign.resume` for the splits that were given from Python."""
    try:
        data = load_experiment(run.resolved, check_files=False).experiment.data
    except SpecError:  # such as of a missing plug-in; resuming will say so
        return []
    sections = {split: getattr(data, split) for split in ("train", "validation", "test")}
    return [ARGUMENTS.get(split, split) for split, section in sections.items() if section and section.from_python]
