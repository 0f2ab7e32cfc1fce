"""A soak of `cbalign serve` with injected faults: no accepted request may be lost.

    python -m tests.trials.soak --minutes 30

A server of a small bundle answers correct clients, and every answer is compared with the expected one. Meanwhile its
worker threads die in a tenth of the functions that they run, its log is a full disk half of the time, and hostile
clients send half heads and half bodies, leave early, do not read, and send bombs and damaged arrays. At the end, the
server gets SIGTERM in the middle of requests. A request counts as lost if its connection was accepted and it got no
answer, a wrong one, or a 5xx; 429 is an answer. In the last second, an unread head cannot be told from an accepted
request, and a connection that ends counts as not accepted. Prints the counts; exits with 1 if a request was lost.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np

from tests.apps.search.conftest import bomb
from tests.apps.serving.conftest import npy, png
from tests.runtime.conftest import write_bundle

CONNECTIONS = 64
OPTIONS = (
    *("--port", 0, "--threads", 1, "--timeout", 10, "--idle-timeout", 2, "--max-connections", CONNECTIONS),
    *("--max-pixels", 2, "--max-decoding", 4, "--max-queue", 128, "--max-requests", 32),
)
IMAGE = {"content-type": "image/png"}
ARRAY = {"content-type": "application/x-npy"}


class Counts:
    """Counts of what happened, by name; for several threads."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.lost: list[str] = []

    def add(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def lose(self, reason: str) -> None:
        self.add("lost")
        self.lost.append(reason)

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def __str__(self) -> str:
        return "\n".join(f"{count:8,}  {name}" for name, count in sorted(self._counts.items()))


def serve_with_faults(words: list[str]) -> None:
    """Run `cbalign serve` in this process, with worker threads that die and a log whose disk fills."""
    from cbalign.apps.serving.workers import Workers
    from cbalign.cli import main

    chance, deaths = random.Random(0), Counts()
    submit = Workers.submit
    Workers.submit = lambda self, function: submit(self, _deadly(function, chance, deaths))  # type: ignore[method-assign]
    threading.Thread(target=_fill_disk, args=(chance, deaths), daemon=True).start()
    main(["serve", *words])


def _deadly(function: Callable[[], object], chance: random.Random, deaths: Counts) -> Callable[[], object]:
    """A function that may kill the thread that first runs it, before or after it computes."""
    fate = chance.choices(["lives", "dies at once", "dies late"], [90, 5, 5])[0]
    left = [] if fate == "lives" else [fate]

    def run() -> object:
        dies = left.pop() if left else None
        result = None if dies == "dies at once" else function()
        if dies:
            deaths.add("deaths")
            raise SystemExit
        return result

    return run


def _fill_disk(chance: random.Random, deaths: Counts) -> None:
    log, full = os.dup(2), os.open("/dev/full", os.O_WRONLY)
    while True:
        time.sleep(0.3)
        os.dup2(full if chance.random() < 0.5 else log, 2)
        os.write(log, f"killed {deaths['deaths']}\n".encode())


@contextmanager
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server with faults, and its address."""
    write_bundle(folder / "bundle")
    command = [sys.executable, "-m", "tests.trials.soak", "--serve", folder / "bundle", *OPTIONS]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), (folder / "log").read_text()
        yield process, address
    finally:
        process.kill()
        process.wait()


def requests() -> dict[str, dict[str, object]]:
    """Correct requests by name: arguments of `post`."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), dtype=np.uint8)
    return {
        "text": {"url": "/encode/text", "json": {"texts": ["a red fox", "two cars"]}},
        "image": {"url": "/encode/image", "content": png("blue", 300), "headers": IMAGE},
        "array": {"url": "/encode/image", "content": npy(pixels), "headers": ARRAY},
        "match": {"url": "/match", "json": {"images": [_base64(png("red"))] * 2, "texts": ["a fox", "a car"]}},
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Phase:
    """When the server was told to end, and whether attacks and questions are over.

    Attacks end some seconds earlier, so that no connections wait for the server to accept them: it is told to end in
    the middle of answers, but what it has not accepted is not lost.
    """

    began: float = field(default_factory=time.monotonic)
    told: float = float("inf")
    calm: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def excuses(self, started: float) -> bool:
        """Whether a request that began then may not have been accepted any more."""
        return started > self.told - 1


def ask(address: str, expected: dict[str, object], counts: Counts, phase: Phase, seed: int) -> None:
    """Send correct requests, each on a connection of its own, until the end."""
    chance, all_requests = random.Random(seed), requests()
    while not phase.over.is_set() and time.monotonic() < phase.told:
        started = time.monotonic()
        name = chance.choice(list(all_requests))
        counts.add("asked")
        try:
            answer = httpx2.post(**{**all_requests[name], "url": address + str(all_requests[name]["url"])}, timeout=30)  # type: ignore[arg-type]
        except httpx2.ConnectError:
            counts.add("not accepted")
            continue
        except httpx2.HTTPError as error:
            if phase.excuses(started):
                counts.add("not accepted at the end")
                continue
            times = [time.monotonic() - started, started - phase.began, phase.told - started]
            when = "after {:.1f} s, {:.1f} s from the beginning, {:.1f} s before the end".format(*times)
            counts.lose(f"{name}: {type(error).__name__} {error}, {when}")
            continue
        if answer.status_code == 429:
            counts.add("rejected with 429")
        elif answer.status_code != 200:
            counts.lose(f"{name}: {answer.status_code} {answer.text[:200]}")
        elif name in expected and not _same(answer.json(), expected[name]):
            counts.lose(f"{name}: a wrong answer, {answer.text[:200]}")
        else:
            counts.add("answered")


def _same(answer: object, expected: object) -> bool:
    if isinstance(expected, dict) and isinstance(answer, dict):
        return answer.keys() == expected.keys() and all(_same(answer[key], expected[key]) for key in expected)
    if isinstance(expected, list) and isinstance(answer, list):
        return len(answer) == len(expected) and all(map(_same, answer, expected))
    if isinstance(expected, float) and isinstance(answer, float):
        return abs(answer - expected) < 1e-5
    return answer == expected


def attack(address: str, counts: Counts, phase: Phase, seed: int) -> None:
    """Misbehave until the end, keeping several connections open."""
    chance = random.Random(seed)
    host, _, port = address.removeprefix("http://").partition(":")
    held: list[socket.socket] = []
    head = b"POST /encode/image HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 5000\r\n\r\n"
    array = npy(np.zeros((5, 4, 3), np.uint8))
    while not phase.calm.is_set():
        kind = chance.choice(["half head", "half body", "silence", "no reading", "bomb", "damaged array", "noise"])
        counts.add(f"attack: {kind}")
        with suppress(OSError):
            connection = socket.create_connection((host, int(port)), timeout=1)
            held.append(connection)
            match kind:
                case "half head":
                    connection.sendall(head[: chance.randrange(1, len(head))])
                case "half body":
                    connection.sendall(head + b"x" * chance.randrange(4999))
                case "no reading":
                    connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
                case "bomb":
                    data = bomb(chance.choice([30_000, 1_400]), 1_000)
                    connection.sendall(head.replace(b"5000", b"%d" % len(data)) + data)
                case "damaged array":
                    data = bytearray(array)
                    data[chance.randrange(len(data))] = chance.randrange(256)
                    connection.sendall(
                        head.replace(b"5000", b"%d" % len(data)).replace(b"image/png", b"application/x-npy") + data
                    )
                case "noise":
                    connection.sendall(chance.randbytes(200))
        while len(held) > CONNECTIONS // 2:  # leaves, often in the middle of something
            held.pop(chance.randrange(len(held))).close()
        time.sleep(0.05)


def soak(seconds: float, folder: Path) -> Counts:
    """Run the soak and return its counts."""
    counts = Counts()
    with server(folder) as (process, address):
        expected = {
            name: httpx2.post(**{**each, "url": address + str(each["url"])}, timeout=30).json()  # type: ignore[arg-type]
            for name, each in requests().items()
        }
        deadline, phase = time.monotonic() + seconds, Phase()
        threads = [threading.Thread(target=ask, args=(address, expected, counts, phase, n)) for n in range(8)]
        threads += [threading.Thread(target=attack, args=(address, counts, phase, 100 + n)) for n in range(3)]
        for thread in threads:
            thread.start()
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.5)
        phase.calm.set()
        time.sleep(3)
        phase.told = time.monotonic()
        process.send_signal(signal.SIGTERM)  # while requests are in progress
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        phase.over.set()
        for thread in threads:
            thread.join()
        if process.returncode != 0:
            counts.lose(f"the server ended with {process.returncode}: {(folder / 'log').read_text()[-2000:]}")
    log = (folder / "log").read_text()
    killed = [line for line in log.splitlines() if line.startswith("killed ")]
    for _ in range(int(killed[-1].split()[1]) if killed else 0):
        counts.add("fault: killed threads")
    for _ in range(log.count("Traceback")):
        counts.add("tracebacks in the log")
    return counts


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--serve", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_with_faults(options.serve)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        counts = soak(60 * options.minutes, Path(folder))
    print(counts)
    for reason in counts.lost[:20]:
        print("lost:", reason)
    return 1 if counts.lost else 0


if __name__ == "__main__":
    sys.exit(main())
