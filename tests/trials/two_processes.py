"""Two processes do the same in the same place, and one of them is killed, or stopped for a while.

The other one finishes, or is refused with a `CbalignError`, such as while a run is trained by another process. Then it
is done once more, and the result must be that of one undisturbed process.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from functools import partial
from pathlib import Path

from cbalign.errors import CbalignError
from tests.trials.activities import Activity, Index, Pack, TinyTraining
from tests.trials.crashes import Crashes, difference, finish, fork, wait_for
from tests.trials.trial import CaseFailed, Wrong, chance_of, check_message, why

_SHARED: tuple[type[Activity], ...] = (Pack, Index, TinyTraining)


class TwoProcesses(Crashes):
    """Two processes at once."""

    name, full = "two_processes", 150

    def run(self, number: int, seed: int) -> str:
        """Run one activity twice at once."""
        kind = _SHARED[number % len(_SHARED)]
        activity, _, expected = self.prepared(kind)
        chance = chance_of(self.name, seed, number)
        place = self.folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        finish(lambda: activity.begin(place))
        delay, what = chance.random() * 0.3, chance.choice(["killed", "stopped", "left alone"])
        try:
            act = partial(_act, activity, place)
            pids = [fork(act, None), fork(act, None)]
            time.sleep(delay)
            if what != "left alone":
                os.kill(pids[0], signal.SIGKILL if what == "killed" else signal.SIGSTOP)
            other = wait_for(pids[1])
            if what == "stopped":
                os.kill(pids[0], signal.SIGCONT)
            first = wait_for(pids[0])
            if other or (first and what != "killed"):
                raise Wrong(f"the processes ended with {first} and {other}; stderr has the traceback")
            activity.check_left(place)
            finish(lambda: activity.act(place))
            found = activity.result(place)
            if found != expected:
                raise Wrong(f"the result differs from that of one process: {difference(found, expected)}")
        except Exception as error:
            raise CaseFailed(f"{kind.name} twice at once, one {what} after {delay:.3f} s", why(error)) from error
        return f"{kind.name}: one {what}"


def _act(activity: Activity, place: Path) -> None:
    try:
        activity.act(place)
    except CbalignError as error:
        check_message(str(error))
