"""Find a run by the name that the user typed."""

from __future__ import annotations

import difflib
from pathlib import Path

from cbalign.engine.run import LATEST, RunFolder, find_runs, open_run
from cbalign.errors import UsageError

_SHOWN = 8  # names in a message


def find_run(runs: Path, word: str) -> RunFolder:
    """Find a run by its path, `latest`, or the beginning of its name or id in the folder of runs.

    Raises:
        UsageError: no run matches, or several do.
        CheckpointError: `latest` names a run that does not exist.
    """
    if word == LATEST:
        return _latest(runs)
    path = Path(word)
    if (path / "manifest.json").is_file() or path.name == LATEST:
        return open_run(path)
    names = [run.folder.name for run in find_runs(runs)]
    matches = [name for name in names if name == word] or [
        name for name in names if name.startswith(word) or identity(name).startswith(word)
    ]
    if len(matches) == 1:
        return open_run(runs / matches[0])
    if matches:
        more = f" and {len(matches) - _SHOWN} more" if len(matches) > _SHOWN else ""
        raise UsageError(
            f"{word!r} matches {len(matches)} runs in {runs}: {', '.join(matches[-_SHOWN:])}{more}.",
            remedy=f"Give more of the name, or the id at its end, such as {identity(matches[-1])}.",
        )
    near = difflib.get_close_matches(word, [*names, *map(identity, names)], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    there = f"The newest there: {', '.join(names[-_SHOWN:])}." if names else "There are no runs there."
    raise UsageError(f"There is no run {word!r} in {runs}.{hint}", remedy=there)


def identity(name: str) -> str:
    """Return the id at the end of a run's name."""
    return name.rpartition("-")[2]


def _latest(runs: Path) -> RunFolder:
    if (runs / LATEST).is_file():
        return open_run(runs / LATEST)
    found = find_runs(runs)
    if not found:
        raise UsageError(f"There are no runs in {runs}.", remedy="Start one with cbalign train SPEC.")
    return found[-1]
