"""Kill a command before and after each of its file-system operations, then resume or repeat it.

An operation is a call from Python of a built-in function that may change files: opening, writing, syncing, renaming,
removing, statements of SQLite, and the writers of safetensors and torch. A case is an activity and the number of the
operation. The process forks, counts the calls with `sys.setprofile`, and kills itself with SIGKILL before or after the
chosen one. What it leaves must be as good as nothing or complete; then the command is repeated, and the result must be
that of an undisturbed one. Every seventh time the repetition is killed, too, before it is repeated again.

The last cases start two processes at once, one of which is killed or stopped.
"""

from __future__ import annotations

import importlib
import io
import os
import random
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from tests.trials.activities import ACTIVITIES, Activity
from tests.trials.trial import CaseFailed, Trial, Wrong, chance_of, why

_OF_FILES = frozenset({"write", "writelines", "flush", "close", "truncate"})
_OF_SYSTEM = _OF_FILES | {
    *("open", "open_code", "fsync", "ftruncate", "rename", "replace", "unlink", "remove", "mkdir", "rmdir"),
    *("symlink", "link", "utime", "chmod", "sendfile", "copy_file_range"),
}
"""Functions of `os` and `io`."""
_OF_LIBRARIES = frozenset(
    {"execute", "executemany", "executescript", "commit", "serialize_file", "write_record", "write_end_of_file"}
)
_FILES = (io.FileIO, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)
SECONDS = 120
Want = Callable[["Killer | None"], str]
"""Asks a process that ends without a kill for something."""


class Crashes(Trial):
    """Kills at every operation."""

    name, full = "crashes", 700

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._made: dict[str, tuple[Activity, int, object]] = {}

    def run(self, number: int, seed: int) -> str:
        """Kill one activity at one operation; the operations of each are spread evenly over its cases."""
        kind = self.activity(number)
        activity, operations, expected = self.prepared(kind)
        chance = chance_of(self.name, seed, number)
        at = _spread(number, operations, chance)
        place = self.folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        did = f"{kind.name}: killed {'after' if at % 2 else 'before'} operation {at // 2} of {operations}"
        try:
            kills = self._kill(activity, place, at)
            if number % 7 == 0:
                again = chance.randrange(2 * operations)
                kills += self._kill(activity, place, again)
                did += f", then at {again // 2}"
            activity.check_left(place)
            finish(lambda: activity.act(place))
            found = activity.result(place)
            if found != expected:
                raise Wrong(f"the result differs from the undisturbed one: {difference(found, expected)}")
        except Exception as error:
            raise CaseFailed(did, why(error)) from error
        return f"{kind.name}: {kills} {'kill' if kills == 1 else 'kills'}"  # 0: it wrote less than the first time

    def activity(self, number: int) -> type[Activity]:
        """The activity of a case: slow ones have fewer cases."""
        return ACTIVITIES[_turn(number)]

    def prepared(self, kind: type[Activity]) -> tuple[Activity, int, object]:
        """The activity, its number of operations, and its undisturbed result; made once."""
        if kind.name not in self._made:
            folder = self.folder / kind.name
            folder.mkdir()
            activity = kind(folder)
            place = folder / "undisturbed"
            place.mkdir()
            _import_all(finish(lambda: (activity.act(place), activity.result(place)), want=_modules))
            shutil.rmtree(place)
            place.mkdir()
            operations = int(finish(lambda: activity.act(place), Killer(None), want=Killer.told))
            self._made[kind.name] = (activity, operations, activity.result(place))
        return self._made[kind.name]

    def _kill(self, activity: Activity, place: Path, at: int) -> int:
        """Run the activity up to an event; 1 if it was killed, 0 if it ended before."""
        pid = fork(lambda: activity.act(place), Killer(at))
        status = wait_for(pid)
        if status == -signal.SIGKILL:
            return 1
        if status:
            raise Wrong(f"the process ended with {status} instead of being killed")
        return 0


def _turn(number: int) -> int:
    """Which activity a case is of: slow ones have fewer cases."""
    shares = [index for index, kind in enumerate(ACTIVITIES) for _ in range(kind.share)]
    random.Random(0).shuffle(shares)
    return shares[number % len(shares)]


def _spread(number: int, operations: int, chance: random.Random) -> int:
    """An event: operation times two, plus one for after. Cases visit them in an order that fills gaps."""
    golden = (number * 0.6180339887498949) % 1
    return int(golden * 2 * operations) if chance.random() < 0.9 else chance.randrange(2 * operations)


class Killer:
    """Counts operations of this process, and kills it at an event: 2n is before operation n, 2n + 1 after it.

    Args:
        at: the event; None for never.
    """

    def __init__(self, at: int | None) -> None:
        self.at, self.count, self._pid = at, 0, os.getpid()
        self._lock = threading.Lock()

    def install(self) -> None:
        """Watch all threads from now on."""
        self._pid = os.getpid()
        threading.setprofile(self)
        sys.setprofile(self)

    @staticmethod
    def told(killer: Killer | None) -> str:
        """The number of operations."""
        assert killer is not None
        return str(killer.count)

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        """Called by the interpreter for every call."""
        if event in ("c_call", "c_return") and _is_operation(called) and not _is_import(frame):
            with self._lock:
                number = 2 * self.count if event == "c_call" else 2 * self.count + 1
                self.count += event == "c_return"
                if number == self.at and os.getpid() == self._pid:
                    os.kill(self._pid, signal.SIGKILL)


def _is_operation(called: Any) -> bool:
    """Whether a built-in function may change files."""
    name = getattr(called, "__name__", "")
    if name in _OF_LIBRARIES:
        return True
    if name in _OF_FILES and isinstance(getattr(called, "__self__", None), _FILES):
        return True
    return name in _OF_SYSTEM and getattr(called, "__module__", None) in ("posix", "io", "_io")


def _is_import(frame: FrameType | None) -> bool:
    """Whether a call belongs to the import of a module, which happens once or not at all."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def fork(act: Callable[[], object], killer: Killer | None, pipe: int | None = None, want: Want | None = None) -> int:
    """Run a function in a forked process that may kill itself.

    It ends with 0, and what is wanted of it in `pipe`; or with 1 and a traceback there.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(SECONDS)
        if killer is not None:
            killer.install()
        act()
        sys.setprofile(None)
        if pipe is not None and want is not None:
            _write(pipe, want(killer))
        code = 0
    except BaseException:
        sys.setprofile(None)
        if pipe is None:
            traceback.print_exc()
        else:
            _write(pipe, traceback.format_exc()[-4_000:])
    finally:
        os._exit(code)


def _write(pipe: int, text: str) -> None:
    with os.fdopen(pipe, "w") as file:
        file.write(text)


def wait_for(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def finish(act: Callable[[], object], killer: Killer | None = None, want: Want | None = None) -> str:
    """Run a function in a forked process that must succeed; returns what is wanted of that process."""
    read, write = os.pipe()
    pid = fork(act, killer, write, want)
    os.close(write)
    with os.fdopen(read) as file:
        told = file.read()
    if status := wait_for(pid):
        raise Wrong(f"without a kill, it ended with {status}:\n{told}")
    return told


def _modules(_: Killer | None) -> str:
    return " ".join(sorted(sys.modules))


def _import_all(names: str) -> None:
    """Import what an activity uses, so that the processes that are forked need not."""
    for name in names.split():
        if name not in sys.modules and not name.startswith("_") and name.isprintable():
            with suppress(Exception):
                importlib.import_module(name)


def difference(found: object, expected: object) -> str:
    if isinstance(found, dict) and isinstance(expected, dict):
        names = sorted(found.keys() | expected.keys(), key=str)
        return ", ".join(str(name) for name in names if found.get(name) != expected.get(name))[:1_000]
    return f"{found!r}"[:500]
