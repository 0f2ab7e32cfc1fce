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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_answers_in_progress_go_out_before_it_ends(start: Start, number: signal.Signals) -> None:
    process, address = start("--max-wait", 1000)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx2.post, f"{address}/encode/text", json={"texts": ["a fox"]}, timeout=30)
        while "in_flight 1.0" not in httpx2.get(f"{address}/metrics").text:
            time.sleep(0.02)
        end(process, number)
        assert asked.result().status_code == 200


def test_more_requests_than_allowed_are_turned_away_and_health_is_not(start: Start) -> None:
    process, address = start("--max-requests", 2, "--max-wait", 500)
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(httpx2.post, f"{address}/encode/text", json={"texts": ["a"]}, timeout=30) for _ in range(8)
        ]
        assert httpx2.get(f"{address}/healthz").status_code == 200
        statuses = [answer.result().status_code for answer in asked]
    assert set(statuses) == {200, 429}
    assert httpx2.post(f"{address}/encode/text", json={"texts": ["a"]}, timeout=30).status_code == 200
    end(process)


def test_a_body_that_does_not_come_is_not_waited_for(start: Start) -> None:
    process, address = start("--timeout", 1)
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"POST /encode/image HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nabc"
        )
        answer = connection.recv(10_000).decode()
    assert answer.startswith("HTTP/1.1 408")
    assert "came too slowly" in answer
    end(process)


def test_what_cannot_be_served_is_told_before_anything_listens(bundle: Path, tmp_path: Path) -> None:
    def serve(*words: object) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "cbalign", "serve", *map(str, words)], capture_output=True, text=True, timeout=60
        )
        assert (done.stdout, "Traceback" in done.stderr) == ("", False)
        return done.returncode, done.stderr

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, message = serve(bundle, "--port", taken.getsockname()[1])
        assert (code, "cannot listen on" in message) == (2, True)
    code, message = serve(bundle, "--port", 0, "--images", tmp_path / "nowhere")
    assert (code, "no such folder" in message) == (3, True)
    (bundle / "fp32" / "text.onnx").write_bytes(b"damaged")
    code, message = serve(bundle, "--port", 0)
    assert (code, "text.onnx is damaged" in message) == (3, True)
