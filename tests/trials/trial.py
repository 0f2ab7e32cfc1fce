"""One kind of trial: many numbered cases, each drawn from a seed, in several processes, with a reduced failure."""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cbalign.errors import CbalignError

LONGEST = 4_000
"""Characters of a message, with its remedy."""

SECONDS, MEGABYTES = 30, 800
"""That a case may take, and add to the memory of its process."""


class Wrong(AssertionError):
    """A wrong result, or a message that is no use to anyone."""


class _TooSlow(BaseException):
    pass


def outcome(act: Callable[[], object]) -> str:
    """Run a public function: `accepted`, or `refused` with the type of the error.

    Raises:
        Wrong: the message is empty, endless or not printable.
    """
    try:
        act()
    except CbalignError as error:
        check_message(str(error))
        return f"refused: {type(error).__name__}"
    return "accepted"


def check_message(text: str) -> None:
    """Raise `Wrong` for a message that is empty, endless or not printable."""
    if not text.strip():
        raise Wrong("a message without words")
    if len(text) > LONGEST:
        raise Wrong(f"a message of {len(text):,} characters: {text[:300]}")
    if any((ord(c) < 32 and c not in "\n\t") or ord(c) == 127 for c in text):
        raise Wrong(f"a message with control characters: {text[:300]!r}")
    for jargon in ("Traceback (most", "pydantic", "object at 0x"):
        if jargon in text:
            raise Wrong(f"a message with {jargon!r}: {text[:300]}")


@dataclass(frozen=True)
class Failed:
    """A failed case: what it did, and why that is wrong."""

    case: str
    did: str
    why: str


@dataclass
class Report:
    """Counts of outcomes, and the failures."""

    counts: Counter[str] = field(default_factory=Counter)
    failed: list[Failed] = field(default_factory=list)

    def text(self, name: str, seed: int) -> str:
        """What is printed."""
        total = sum(self.counts.values())
        lines = [f"{name}: {total:,} cases, {len(self.failed)} failures"]
        lines += [f"{count:8,}  {what}" for what, count in sorted(self.counts.items())]
        for each in self.failed[:20]:
            lines += ["", f"FAILED  python -m tests.trials {name} --seed {seed} --only {each.case}", each.did, each.why]
        return "\n".join(lines)


class Trial(ABC):
    """A kind of trial. Workers make one each, in a folder of their own."""

    name: str
    full: int
    """Number of cases of the full size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def run(self, number: int, seed: int) -> str:
        """Run a case and return its outcome.

        Raises:
            CaseFailed: it failed; what it did is in the exception.
        """


class CaseFailed(Exception):
    """A case failed."""

    def __init__(self, did: str, why: str) -> None:
        super().__init__(why)
        self.did, self.why = did, why


def chance_of(name: str, seed: int, number: int) -> random.Random:
    """The randomness of one case, independent of all others."""
    return random.Random(f"{name} {seed} {number}")


def why(error: BaseException) -> str:
    """The end of a traceback."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(line[:300] for line in lines[-14:])


def signature(error: BaseException) -> tuple[str, str]:
    """Equal for failures that probably have the same cause: type, and the last line of cbalign in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{frame.filename}:{frame.lineno}" for frame in frames if "/cbalign/" in frame.filename]
    return type(error).__name__, (ours or [str(error)[:40]])[-1]


@contextmanager
def limits() -> Iterator[None]:
    """Let a case fail that takes long or much memory; a process stuck in native code ends."""

    def late(number: int, frame: object) -> None:
        raise _TooSlow(f"it took more than {SECONDS} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if used > MEGABYTES:
        raise Wrong(f"it took {used:,.0f} MB")


def run_trial(
    kind: type[Trial], numbers: Sequence[int], *, seed: int = 0, jobs: int = 1, folder: Path | None = None
) -> Report:
    """Run the cases with these numbers in `jobs` processes."""
    report = Report()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        waiting = {job: list(numbers[job::jobs]) for job in range(jobs)}
        running: dict[int, tuple[int, Path]] = {}
        started = 0
        while waiting or running:
            for job in [job for job, left in waiting.items() if not left]:
                del waiting[job]
            for job in [job for job in waiting if job not in {j for j, _ in running.values()}]:
                results = Path(place, f"results-{started}")
                running[_start(kind, waiting[job], seed, results)] = (job, results)
                started += 1
            if running:
                pid, status = os.wait()
                job, results = running.pop(pid)
                _collect(report, waiting[job], results, status)
    return report


def _start(kind: type[Trial], numbers: Sequence[int], seed: int, results: Path) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        warnings.simplefilter("ignore")
        place = results.with_name(f"{results.name}-files")
        place.mkdir()
        with open(results, "w", buffering=1) as file:
            trial = kind(place)
            for number in numbers:
                file.write(json.dumps(["begin", number]) + "\n")
                file.write(json.dumps(["end", number, *_case(trial, number, seed)]) + "\n")
        shutil.rmtree(place, ignore_errors=True)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _case(trial: Trial, number: int, seed: int) -> tuple[str, str, str]:
    try:
        return trial.run(number, seed), "", ""
    except CaseFailed as error:
        return "failed", error.did, error.why


def _collect(report: Report, waiting: list[int], results: Path, status: int) -> None:
    """Add the results of a process that ended, and forget the cases that it ran."""
    lines = [json.loads(line) for line in (results.read_text() if results.exists() else "").splitlines()]
    for _, number, what, did, reason in (line for line in lines if line[0] == "end"):
        report.counts[what] += 1
        waiting.remove(number)
        if what == "failed":
            report.failed.append(Failed(str(number), did, reason))
    if not status:
        return
    if not lines or lines[-1][0] == "end":
        raise RuntimeError(f"a process of the trials could not start, or ended between two cases: status {status}")
    number = lines[-1][1]
    waiting.remove(number)
    report.counts["failed"] += 1
    code = os.waitstatus_to_exitcode(status)
    report.failed.append(Failed(str(number), "", f"the process ended with {code}: it crashed or hung in native code"))
