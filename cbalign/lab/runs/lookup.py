"""Which run a word on the command line means."""

from __future__ import annotations

import difflib
from pathlib import Path

from cbalign.engine.run import LATEST, Run, find_runs, open_run
from cbalign.errors import UsageError

_SHOWN = 8  # names in a message


def find_run(runs: Path, word: str) -> Run:
    """The run that `word` means: a path, `latest`, or the beginning of one name or id in the folder of runs.

    Raises:
        UsageError: it means none, or several.
        CheckpointError: `latest` names a run that is gone.
    """
    if word == LATEST:
        return _latest(runs)
    path = Path(word)
    if (path / "manifest.json").is_file() or path.name == LATEST:
        return open_run(path)
    names = [run.folder.name for run in find_runs(runs)]
    meant = [name for name in names if name == word] or [
        name for name in names if name.startswith(word) or identity(name).startswith(word)
    ]
    if len(meant) == 1:
        return open_run(runs / meant[0])
    if meant:
        more = f" and {len(meant) - _SHOWN} more" if len(meant) > _SHOWN else ""
        raise UsageError(
            f"{word!r} means {len(meant)} runs in {runs}: {', '.join(meant[-_SHOWN:])}{more}.",
            remedy=f"Write more of the name, or its id: the last part, such as {identity(meant[-1])}.",
        )
    near = difflib.get_close_matches(word, [*names, *map(identity, names)], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    there = f"The newest there: {', '.join(names[-_SHOWN:])}." if names else "There are no runs there."
    raise UsageError(f"There is no run {word!r} in {runs}.{hint}", remedy=there)


def identity(name: str) -> str:
    """The id at the end of a run's name."""
    return name.rpartition("-")[2]


def _latest(runs: Path) -> Run:
    if (runs / LATEST).is_file():
        return open_run(runs / LATEST)
    found = find_runs(runs)
    if not found:
        raise UsageError(f"There are no runs in {runs}.", remedy="Train one: cbalign train SPEC.")
    return found[-1]
