"""`--nproc N`: launch N processes of one command on this machine and supervise them.

The launcher does not import torch. It forwards signals, ends the other processes when one fails, and reports the
error once: each process writes its error to a file instead of printing it. Process 0 has the terminal.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from cbalign import errors
from cbalign.engine.placement import read_placement
from cbalign.engine.signals import SIGNALS
from cbalign.errors import CbalignError, Interrupted, ProcessLostError, UsageError

LAUNCHER, REPORT = "CBALIGN_LAUNCHER", "CBALIGN_REPORT"
GRACE = 10.0  # seconds that the other processes have to end after one failed
_POLL = 0.1
_TAIL = 10  # lines of output to show of a process that died without an error


def launch(words: Sequence[str], count: int) -> None:
    """Run `cbalign WORDS` in `count` processes and wait for all of them.

    Raises:
        UsageError: this process is one of several already.
        ProcessLostError: one of them died; the others were ended.
        CbalignError: the error that one of them raised.
    """
    placement = read_placement(os.environ)
    if placement is not None and placement.size > 1:
        raise UsageError(
            f"This is process {placement.rank} of {placement.size} that torchrun or srun started: "
            "--nproc would multiply them.",
            remedy="Leave --nproc out, or start the command without torchrun and srun.",
        )
    with tempfile.TemporaryDirectory(prefix="cbalign-") as folder:
        ranks = _start(words, count, Path(folder))
        with _signals_given_on(ranks) as given:
            _wait(ranks)
        _die_of_what_killed_them(ranks, given)
        if failure := _explain(ranks):
            raise failure


def is_launched(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process is one of those that `launch` started."""
    return LAUNCHER in (os.environ if environment is None else environment)


def end_with_launcher() -> None:
    """Stop as on SIGTERM, with a checkpoint, when the process that launched this one is gone."""

    def watch(launcher: int) -> None:
        while os.getppid() == launcher:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    if is_launched():
        threading.Thread(target=watch, args=(int(os.environ[LAUNCHER]),), daemon=True).start()


def leave_report(message: str, remedy: str | None, exit_code: int, kind: str) -> bool:
    """Report an error to the launcher; False in a process without one, which must print the error itself.

    Args:
        message, remedy, exit_code: of the failure.
        kind: name of the exception's class.
    """
    path = os.environ.get(REPORT)
    if path is None:
        return False
    values = {"message": message, "remedy": remedy, "exit_code": exit_code, "kind": kind}
    Path(path).write_text(json.dumps(values), encoding="utf-8")
    return True


@dataclass(frozen=True)
class _Rank:
    """One of the processes, what it prints unless it is the first, and where it leaves its error."""

    number: int
    size: int
    process: subprocess.Popen[bytes]
    words: Path
    report: Path

    @property
    def name(self) -> str:
        return f"Process {self.number} of {self.size} (pid {self.process.pid})"

    @property
    def failed(self) -> bool:
        return self.process.poll() not in (None, 0, Interrupted.exit_code)

    def error(self) -> CbalignError | None:
        """Return the error in its file."""
        if not self.report.is_file():
            return None
        values = json.loads(self.report.read_text(encoding="utf-8"))
        made = getattr(errors, values["kind"], CbalignError)(values["message"], remedy=values["remedy"])
        assert isinstance(made, CbalignError)
        made.exit_code = values["exit_code"]
        return made

    def death(self) -> ProcessLostError | None:
        """Return an error if the process died without reporting one."""
        code = self.process.returncode
        if code == 0 or self.report.is_file():
            return None
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        said = self.words.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        return ProcessLostError("\n  ".join([f"{self.name} {how}.", *said]))


def _start(words: Sequence[str], count: int, folder: Path) -> list[_Rank]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count))),
        # Torch's warnings about DDP, once per process, would break up the progress bar.
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
        LAUNCHER: str(os.getpid()),
    }
    # Use the module search path of this process: the working directory only if it is on it.
    isolated = [] if "" in sys.path or os.getcwd() in sys.path else ["-P"]
    ranks = []
    for number in range(count):
        said, report = folder / f"{number}.txt", folder / f"{number}.json"
        said.touch()
        own = {"RANK": str(number), "LOCAL_RANK": str(number), REPORT: str(report)}
        with open(said, "wb") as file:
            process = subprocess.Popen(
                [sys.executable, *isolated, "-m", "cbalign", *words],
                env={**os.environ, **shared, **own},
                stdin=subprocess.DEVNULL,
                stdout=None if number == 0 else file,
                stderr=None if number == 0 else file,
                start_new_session=True,  # Ctrl-C reaches only the launcher, which forwards it once
            )
        ranks.append(_Rank(number, count, process, said, report))
    return ranks


@contextmanager
def _signals_given_on(ranks: Sequence[_Rank]) -> Iterator[list[signal.Signals]]:
    """Forward each signal to all processes; yield the list of received signals."""
    arrived: list[signal.Signals] = []

    def give_on(number: int, frame: FrameType | None) -> None:
        arrived.append(signal.Signals(number))
        for rank in ranks:
            rank.process.send_signal(number)

    before = {number: signal.signal(number, give_on) for number in SIGNALS}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _die_of_what_killed_them(ranks: Sequence[_Rank], given: Sequence[signal.Signals]) -> None:
    """End by the same signal, if a second signal or an early one ended the processes."""
    for number in given:
        if any(rank.process.returncode == -number for rank in ranks):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _wait(ranks: Sequence[_Rank]) -> None:
    """Wait for all processes; kill those that still run some time after one failed."""
    deadline: float | None = None
    try:
        while any(rank.process.poll() is None for rank in ranks):
            time.sleep(_POLL)
            if deadline is None and any(rank.failed for rank in ranks):
                deadline = time.monotonic() + GRACE
            if deadline is not None and time.monotonic() > deadline:
                break
    finally:
        for rank in ranks:
            if rank.process.poll() is None:
                rank.report.write_text(_ENDED, encoding="utf-8")
                rank.process.kill()
                rank.process.wait()


_ENDED_BY_OTHERS = "Ended because another process failed."
_ENDED = json.dumps({"message": _ENDED_BY_OTHERS, "remedy": None, "exit_code": 1, "kind": "ProcessLostError"})


def _explain(ranks: Sequence[_Rank]) -> CbalignError | None:
    """Return the root error: a death, or else an error that was not caused by a lost process."""
    raised = [error for rank in ranks if (error := rank.error()) is not None]
    raised.sort(key=lambda error: error.message == _ENDED_BY_OTHERS)  # the reason of the others comes first
    remedies = [error.remedy for error in raised if isinstance(error, ProcessLostError) and error.remedy]
    for rank in ranks:
        if (death := rank.death()) is not None:
            return ProcessLostError(death.message, remedy=remedies[0] if remedies else None)
    causes = [error for error in raised if not isinstance(error, ProcessLostError)]
    return next(iter(causes or raised), None)
