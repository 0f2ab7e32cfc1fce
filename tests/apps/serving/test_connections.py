"""Connections, memory and the log of a server that is attacked: a process of its own, raw sockets, and /proc."""

from __future__ import annotations

import io
import os
import resource
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from cbalign.apps.serving.connections import ConnectionLimits
from cbalign.apps.serving.server import bind
from cbalign.data.image import BYTES_PER_PIXEL

from .conftest import png
from .test_access import certificate
from .test_process import Start, Started, end, start

__all__ = ["start"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and /proc")

HALF_HEAD = b"POST /encode/text HTTP/1.1\r\nHost: localhost\r\n"
TEXT = {"texts": ["a fox"]}


def place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition("//")[2].rpartition(":")
    return host, int(port)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server ended a connection; waits for a moment only."""
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@pytest.fixture
def attackers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(attackers: ExitStack, address: str, sent: bytes = b"") -> socket.socket:
    connection = attackers.enter_context(socket.create_connection(place(address), timeout=0.2))
    connection.sendall(sent)
    return connection


def test_small_packets_are_sent_at_once() -> None:
    with bind("127.0.0.1", 0) as listening:
        listening.limit(ConnectionLimits())
        listening.listen()
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.proto == socket.IPPROTO_TCP  # for which asyncio sets TCP_NODELAY


def test_answers_on_a_kept_connection_do_not_wait(start: Start) -> None:
    _, address = start()
    with httpx2.Client(base_url=address) as client:
        seconds = []
        for _ in range(20):
            started = time.perf_counter()
            client.get("/healthz")
            seconds.append(time.perf_counter() - started)
    assert sorted(seconds)[5] < 0.03  # the delayed acknowledgement of Linux takes 40 ms


def test_half_heads_and_idle_connections_are_closed_and_keep_nobody_out(start: Start, attackers: ExitStack) -> None:
    process, address = start("--max-connections", 20, "--idle-timeout", 1, "--log-lines", 20)
    halves = [connect(attackers, address, HALF_HEAD) for _ in range(60)]  # thrice as many as there is room for
    assert httpx2.post(f"{address}/encode/text", json=TEXT, timeout=5).status_code == 200
    assert sum(is_closed(each) for each in halves[:5]) == 5  # replaced by later ones
    one_more = connect(attackers, address, HALF_HEAD)
    silent = connect(attackers, address)
    slow = connect(attackers, address)
    for number in range(12):  # a byte at a time does not prolong it
        if is_closed(slow):
            break
        try:
            slow.sendall(HALF_HEAD[number : number + 1])
        except OSError:
            break
    else:
        pytest.fail("a slow head was not ended")
    time.sleep(1)
    assert all(is_closed(each) for each in (*halves, one_more, silent))
    log = end(process)
    assert len(log.splitlines()) < 30
    assert "Too many open files" not in log


def test_a_connection_with_a_request_is_not_replaced(start: Start, attackers: ExitStack) -> None:
    process, address = start("--max-connections", 2, "--max-wait", 1000, "--timeout", 20)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(httpx2.post, f"{address}/encode/text", json=TEXT, timeout=20) for _ in range(2)]
        time.sleep(0.5)
        assert is_closed(connect(attackers, address, HALF_HEAD))
        assert [answer.result().status_code for answer in asked] == [200, 200]
    end(process)


def test_more_connections_than_files_are_not_accepted(bundle: Path, attackers: ExitStack) -> None:
    command = [sys.executable, "-m", "cbalign", "serve", str(bundle), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)),
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    for _ in range(150):
        connect(attackers, address, HALF_HEAD)
    assert httpx2.post(f"{address}/encode/text", json=TEXT, timeout=5).status_code == 200
    assert "Too many open files" not in end(process)


def test_a_client_that_does_not_read_its_answer_is_closed(start: Start, attackers: ExitStack) -> None:
    process, address = start("--timeout", 1, "--idle-timeout", 1)
    connection = attackers.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.settimeout(5)
    connection.connect(place(address))
    request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def flood() -> None:
        while True:
            connection.sendall(4000 * request)

    with pytest.raises(ConnectionError):  # not the client's own timeout
        flood()
    assert len(open_sockets(process.pid)) == 1  # the one that listens
    end(process)


def open_sockets(pid: int) -> list[str]:
    """Sockets of TCP of a process, without those that asyncio uses to wake itself."""
    inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
    found = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(file)
        except OSError:
            continue
        if target.removeprefix("socket:[").removesuffix("]") in inodes:
            found.append(target)
    return found


def test_clients_that_leave_write_no_traceback_and_a_full_disk_does_not_matter(bundle: Path) -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "cbalign", "serve", str(bundle), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
        )
        assert process.stdout is not None
        address = process.stdout.readline().strip()
    for _ in range(20):
        assert httpx2.post(f"{address}/encode/text", json=TEXT, timeout=5).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_half_bodies_cost_one_line_each(start: Start) -> None:
    process, address = start()
    for content_type in (b"image/png", b"application/json"):
        head = HALF_HEAD.replace(b"text", b"image") + b"Content-Type: %s\r\nContent-Length: 9\r\n\r\nabc" % content_type
        with socket.create_connection(place(address), timeout=5) as connection:
            connection.sendall(head)
            time.sleep(0.3)
    time.sleep(0.3)
    log = end(process)  # requires that there is no traceback
    assert log.count(" 499 ") == 2


def test_unfinished_handshakes_keep_nobody_out(start: Start, attackers: ExitStack, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    options = ("--tls-cert", cert, "--tls-key", key, "--max-connections", 10, "--idle-timeout", 1)
    process, address = start(*options)
    silent = [connect(attackers, address) for _ in range(30)]
    trusted = ssl.create_default_context(cafile=str(cert))
    assert httpx2.get(f"{address}/healthz", verify=trusted, timeout=5).status_code == 200
    time.sleep(1.5)
    assert all(is_closed(each) for each in silent)
    end(process)


def resident(process: Started, line: str) -> int:
    """`VmRSS`, memory in use, or `VmHWM`, the most that was, in bytes."""
    status = Path(f"/proc/{process[0].pid}/status").read_text()
    return 1024 * int(status.partition(f"{line}:")[2].split()[0])


def flat_png(width: int, height: int) -> bytes:
    """A valid PNG of RGBA zeros, a thousandth of its pixels in size, written without an image of that size."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + 4 * width)) for _ in range(height)) + packer.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_for_images_is_bounded_by_the_budget(start: Start) -> None:
    process, address = started = start("--max-pixels", 4, "--max-decoding", 5, "--max-requests", 64)
    side = 1900  # 3.6 MP: together they take 1 to 2 GB
    floats = Image.fromarray(np.zeros((side, side), np.float32))
    attacks = [
        flat_png(side, side),
        encoded(floats, "TIFF", compression="tiff_adobe_deflate"),
        encoded(Image.new("RGBA", (side, side), (1, 2, 3, 9)), "WEBP", lossless=True),
        flat_png(900_000, 1),
    ]
    with ThreadPoolExecutor(16) as pool:

        def post(data: bytes) -> int:
            return httpx2.post(
                f"{address}/encode/image", content=data, headers={"content-type": "image/png"}, timeout=60
            ).status_code

        assert set(pool.map(post, [png()] * 16)) == {200}
        before = resident(started, "VmRSS")
        answers = list(pool.map(post, attacks * 4))
    grown = resident(started, "VmHWM") - before
    assert answers == [200] * 16
    assert grown < 5e6 * BYTES_PER_PIXEL + 40e6, f"{grown / 1e6:.0f} MB"
    end(process)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_for_bodies_is_bounded_by_theirs(start: Start) -> None:
    process, address = started = start("--max-bodies", 16, "--max-body", 8)
    body = b'{"images": ["' + b"A" * 7_900_000 + b'"]}'  # base64 of what is no image
    headers = {"content-type": "application/json"}
    with ThreadPoolExecutor(12) as pool:

        def post(_: int) -> int:
            return httpx2.post(f"{address}/encode/image", content=body, headers=headers, timeout=60).status_code

        assert set(pool.map(lambda _: httpx2.post(f"{address}/encode/text", json=TEXT).status_code, range(12))) == {200}
        before = resident(started, "VmRSS")
        answers = list(pool.map(post, range(36)))
    assert set(answers) == {422, 429}  # together they are six times as large as allowed
    grown = resident(started, "VmHWM") - before
    assert grown < 6 * 16e6 + 20e6, f"{grown / 1e6:.0f} MB"
    end(process)
