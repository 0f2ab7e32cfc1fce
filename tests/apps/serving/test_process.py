"""`cbalign serve` as its users run it: a process, its address on stdout, requests side by side, a signal to end it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from cbalign.cli import main

from .conftest import png

Started = tuple[subprocess.Popen[str], str]
Start = Callable[..., Started]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends servers with POSIX signals")


@pytest.fixture
def start(bundle: Path) -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def starter(*options: object) -> Started:
        command = [sys.executable, "-m", "cbalign", "serve", bundle, "--port", 0, "--threads", 1, *options]
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield starter
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> str:
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == ""  # nothing but the address went there
    assert "Traceback" not in err
    return err


def test_requests_side_by_side_are_batched_and_a_signal_ends_it_with_0(
    start: Start, photos: Path, cache: Path, expected_red: list[float]
) -> None:
    process, address = start("--images", photos, "--cache", cache, "--max-wait", 50)
    with httpx2.Client(base_url=address, timeout=30) as client, ThreadPoolExecutor(16) as pool:

        def ask(number: int) -> httpx2.Response:
            if number % 2:
                return client.post("/encode/image", content=png(), headers={"content-type": "image/png"})
            return client.post("/search", json={"text": "red cars", "top": 1, "rerank": 0})

        answers = list(pool.map(ask, range(64)))
        assert {answer.status_code for answer in answers} == {200}
        assert all(answer.json()["embeddings"] == [pytest.approx(expected_red)] for answer in answers[1::2])
        assert all(answer.json()["hits"][0]["path"] == "red/0.png" for answer in answers[::2])
        lines = client.get("/metrics").text.splitlines()
        counted = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        assert float(counted['cbalign_batch_size_sum{graph="image"}']) == 32
        assert float(counted['cbalign_batch_size_count{graph="image"}']) < 32
    log = end(process)
    assert "9 images: 9 read" in log
    assert "POST /encode/image" in log


def test_what_is_too_much_or_too_slow_is_turned_away_and_answers_in_progress_go_out(start: Start) -> None:
    process, address = start("--max-requests", 2, "--max-wait", 1000, "--timeout", 10)

    def ask(_: int = 0) -> int:
        return httpx2.post(f"{address}/encode/text", json={"texts": ["a"]}, timeout=30).status_code

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask) for _ in range(8)]
        assert httpx2.get(f"{address}/healthz").status_code == 200
        assert {answer.result() for answer in asked} == {200, 429}

        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            head = b"POST /encode/image HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            head += b"Content-Length: 9\r\n\r\n"
            connection.sendall(head + b"abc")
            answer = ""
            while not answer.endswith("}") and (more := connection.recv(10_000)):  # head and body come apart
                answer += more.decode()
        assert answer.startswith("HTTP/1.1 408")
        assert "was sent too slowly" in answer

        last = pool.submit(ask)
        while "in_flight 1.0" not in httpx2.get(f"{address}/metrics").text:
            time.sleep(0.02)
        end(process, signal.SIGINT)
        assert last.result() == 200


def test_what_cannot_be_served_is_told_before_anything_listens(bundle: Path, tmp_path: Path) -> None:
    def serve(*words: object) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["serve", *map(str, words)])
        assert (result.stdout, "Traceback" in result.stderr) == ("", False)
        return result.exit_code, result.stderr

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, message = serve(bundle, "--port", taken.getsockname()[1])
        assert (code, "cannot listen on" in message) == (2, True)
    code, message = serve(bundle, "--port", 0, "--images", tmp_path / "nowhere")
    assert (code, "no such folder" in message) == (3, True)
    code, message = serve(tmp_path, "--port", 0)
    assert (code, "is not a bundle" in message) == (3, True)
    (bundle / "fp32" / "text.onnx").write_bytes(b"damaged")
    code, message = serve(bundle, "--port", 0)
    assert (code, "text.onnx is damaged" in message) == (3, True)
