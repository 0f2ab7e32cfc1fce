"""Who may use the server, what its answers tell browsers, and what its log tells its owner."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from cbalign.apps.serving.access import AccessRules, check_exposure, host_name
from cbalign.apps.serving.app import create_app
from cbalign.apps.serving.batching import BatchLimits
from cbalign.apps.serving.gate import RequestLimits
from cbalign.apps.serving.log import EntryFormatter, new_request_id
from cbalign.apps.serving.metrics import Metrics
from cbalign.apps.serving.service import PixelLimits, Service
from cbalign.cli import main
from cbalign.errors import UsageError
from cbalign.runtime.session import Session

from .conftest import png
from .test_process import Start, end, start

__all__ = ["start"]

TOKEN = "a-token-for-tests-0123456789"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def serve(session: Session) -> Callable[..., TestClient]:
    def make(access: AccessRules | None = None, limits: RequestLimits | None = None) -> TestClient:
        service = Service(session, None, BatchLimits(), PixelLimits(), Metrics(session))
        return TestClient(create_app(service, limits or RequestLimits(), access), "http://localhost")

    return make


def test_without_the_token_there_is_the_page_and_the_status_only(serve: Callable[..., TestClient]) -> None:
    wrong = ("Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer", "")
    with serve(AccessRules(TOKEN)) as client:
        for header in wrong:
            for path in ("/metrics", "/openapi.json", "/thumbnail?path=a", "/encode/text", "/nowhere"):
                answer = client.get(path, headers={"authorization": header})
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (header, path)
            assert client.get("/healthz", headers={"authorization": header}).json() == {"status": "ok"}
        assert client.post("/encode/text", json={"texts": ["a"]}).status_code == 401
        assert client.get("/").status_code == 200
        assert client.get("/healthz", headers=BEARER).json()["bundle"] == "by-hand"
        assert client.post("/encode/text", json={"texts": ["a"]}, headers=BEARER).status_code == 200
        assert client.get("/metrics", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200


def test_only_names_of_this_server_are_answered(serve: Callable[..., TestClient]) -> None:
    with serve(AccessRules(hosts={"models.example"})) as client:
        for host in ("localhost:8000", "127.0.0.1", "[::1]:80", "192.0.2.7:1", "LOCALHOST", "models.example:443"):
            assert client.get("/healthz", headers={"host": host}).status_code == 200, host
        for host in (
            "evil.example",
            "evil.example:8000",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "",
            "[x]",
            "1.2.3",
        ):
            answer = client.get("/healthz", headers={"host": host})
            assert (answer.status_code, "--allow-host" in answer.json()["remedy"]) == (421, True), host


@given(st.sampled_from(["a.example", "localhost", "::1", "1.2.3.4"]), st.integers(0, 65535))
def test_the_name_of_a_host_is_that_without_its_port(name: str, port: int) -> None:
    written = f"[{name}]" if ":" in name else name
    assert host_name(written) == host_name(f"{written}:{port}") == host_name(f" {written.upper()}:{port} ") == name


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_needs_no_token(address: str) -> None:
    assert check_exposure(address, token=False, tls=False, insecure=False) is None


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.2", "fe80::1%eth0", "::ffff:10.0.0.1"])
def test_other_machines_need_a_token_or_tls_unless_told(address: str) -> None:
    with pytest.raises(UsageError, match="neither a token nor TLS"):
        check_exposure(address, token=False, tls=False, insecure=False)
    assert "unencrypted" in (check_exposure(address, token=True, tls=False, insecure=False) or "")
    assert "everyone" in (check_exposure(address, token=False, tls=True, insecure=False) or "")
    assert "everyone" in (check_exposure(address, token=False, tls=False, insecure=True) or "")
    assert check_exposure(address, token=True, tls=True, insecure=False) is None


def refused(bundle: Path, *options: object, environment: dict[str, str] | None = None) -> str:
    words = ["serve", bundle, "--port", 0, *options]
    result = CliRunner().invoke(main, [str(word) for word in words], env=environment)
    assert (result.exit_code, result.stdout) == (2, ""), result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


def test_the_command_refuses_what_would_let_everybody_in(bundle: Path, tmp_path: Path) -> None:
    message = refused(bundle, "--host", "0.0.0.0")
    assert all(word in message for word in ("--token-file", "CBALIGN_TOKEN", "--tls-cert", "--insecure"))
    short = tmp_path / "short"
    short.write_text("secret\n")
    message = refused(bundle, "--token-file", short)
    assert "6 characters" in message
    assert "secret" not in message.replace("import secrets", "").replace("secrets.token", "")
    assert "cannot carry" in refused(bundle, environment={"CBALIGN_TOKEN": "sixteen letters and spaces"})
    both = refused(bundle, "--token-file", short, environment={"CBALIGN_TOKEN": TOKEN})
    assert "both --token-file and CBALIGN_TOKEN" in both
    assert "No such file" in refused(bundle, "--token-file", tmp_path / "none")


def certificate(folder: Path, *, password: str | None = None) -> tuple[Path, Path]:
    cert, key = folder / "server.crt", folder / "server.key"
    protect = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-keyout", key, "-out", cert, "-days", "2", *protect]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return cert, key


def test_certificates_that_cannot_be_used_are_refused(bundle: Path, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    assert "--tls-key is missing" in refused(bundle, "--tls-cert", cert)
    assert "not a certificate with its private key" in refused(bundle, "--tls-cert", key, "--tls-key", cert)
    (tmp_path / "other").mkdir()
    _, other = certificate(tmp_path / "other")
    assert "not a certificate with its private key" in refused(bundle, "--tls-cert", cert, "--tls-key", other)
    _, locked = certificate(tmp_path / "other", password="secret")
    assert "key is encrypted" in refused(bundle, "--tls-cert", tmp_path / "other/server.crt", "--tls-key", locked)


def test_token_and_certificate_of_a_server_that_runs(start: Start, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    process, address = start("--token-file", file, "--tls-cert", cert, "--tls-key", key, "--host", "0.0.0.0")
    assert address.startswith("https://0.0.0.0:")
    command = Path(f"/proc/{process.pid}/cmdline")
    assert not command.exists() or TOKEN.encode() not in command.read_bytes()
    url = f"https://localhost:{address.rpartition(':')[2]}"
    with httpx2.Client(verify=ssl.create_default_context(cafile=str(cert)), headers=BEARER) as client:
        answer = client.post(f"{url}/encode/text", json={"texts": ["a fox"]}, headers={"x-request-id": "mine-1"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (200, "mine-1")
        assert client.get(f"{url}/metrics", headers={"authorization": "Bearer x"}).status_code == 401
    log = end(process)
    assert re.search(r"INFO \[mine-1\] 127.0.0.1 POST /encode/text 200 \d+ ms", log)
    assert TOKEN not in log


class Inline(HTMLParser):
    """Texts of scripts and styles of a page, and attributes that a content policy forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[str, str]] = []
        self.forbidden: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.forbidden += [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.texts.append((self._inside, data))


def test_the_page_runs_its_own_script_only(serve: Callable[..., TestClient]) -> None:
    with serve() as client:
        page = client.get("/")
    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
    inline = Inline()
    inline.feed(page.text)
    assert [tag for tag, _ in inline.texts] == ["style", "script"]
    for tag, text in inline.texts:
        assert policy[f"{tag}-src"] == f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
    assert inline.forbidden == []
    assert (policy["default-src"], policy["connect-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")


def test_every_answer_has_an_id_and_headers_for_browsers(serve: Callable[..., TestClient]) -> None:
    with serve() as client:
        answers = [client.get(path) for path in ("/", "/healthz", "/metrics", "/nowhere", "/match", "/openapi.json")]
        answers += [client.post("/encode/text", json=body) for body in ({"texts": ["a"]}, {"texts": 1})]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


@given(st.binary(max_size=80))
def test_ids_of_requests_are_short_and_plain(given: bytes) -> None:
    found = new_request_id(given)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", found)
    if re.fullmatch(rb"[A-Za-z0-9]{1,64}", given):
        assert found == given.decode()


def test_a_client_that_leaves_costs_one_line_of_the_log(
    serve: Callable[..., TestClient], caplog: pytest.LogCaptureFixture
) -> None:
    app = serve().app
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/encode/image",
        "raw_path": b"/encode/image", "query_string": b"", "root_path": "", "client": ("192.0.2.1", 1),
        "server": ("127.0.0.1", 80), "headers": [(b"host", b"localhost"), (b"content-type", b"image/png")],
    }  # fmt: skip
    messages = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    async def send(message: object) -> None:
        sent.append(message)

    caplog.set_level(logging.INFO)
    asyncio.run(app(scope, receive, send))  # raises nothing, which uvicorn would log with a traceback
    assert sent == []
    assert [record.getMessage().rpartition(" ")[0].rpartition(" ")[0] for record in caplog.records] == [
        "192.0.2.1 POST /encode/image 499"
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_an_error_nobody_foresaw_is_logged_with_its_traceback(
    serve: Callable[..., TestClient],
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(session, "encode_tokens", lambda tokens: 1 / 0)
    with serve() as client:
        assert client.post("/encode/text", json={"texts": ["a"]}).status_code == 500
    (failed,) = [record for record in caplog.records if record.exc_info]
    assert "ZeroDivisionError" in EntryFormatter().format(failed)


def test_all_bodies_together_are_limited(serve: Callable[..., TestClient]) -> None:
    with serve(limits=RequestLimits(bodies=100)) as client:
        answer = client.post("/encode/image", content=b"x" * 101, headers={"content-type": "image/png"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert client.post("/encode/image", content=png(), headers={"content-type": "image/png"}).status_code == 200
