"""The HTTP interface, in this process: answers, and what becomes of everything that is no proper request."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from cbalign.apps.search.index import open_index
from cbalign.apps.serving.app import create_app
from cbalign.apps.serving.batching import BatchLimits
from cbalign.apps.serving.gate import RequestLimits
from cbalign.apps.serving.metrics import Metrics
from cbalign.apps.serving.service import PixelLimits, Service
from cbalign.runtime.session import Session
from tests.apps.search.conftest import bomb

from .conftest import npy, png

Start = Callable[..., TestClient]
PNG = {"content-type": "image/png"}
NPY = {"content-type": "application/x-npy"}


@pytest.fixture
def start(session: Session, photos: Path, cache: Path) -> Iterator[Start]:
    clients = []

    def starter(limits: RequestLimits | None = None, *, images: bool = True, batches: BatchLimits | None = None):
        index = open_index(session, photos, cache) if images else None
        service = Service(session, index, batches or BatchLimits(), PixelLimits(1_000_000, 2_000_000), Metrics(session))
        app = create_app(service, limits or RequestLimits())
        client = TestClient(app, "http://localhost", raise_server_exceptions=False)
        clients.append(client)
        return client.__enter__()

    yield starter
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(start: Start) -> TestClient:
    return start()


def text64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_an_image_is_encoded_however_it_is_sent(client: TestClient, expected_red: list[float]) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    answers = [
        client.post("/encode/image", content=png(), headers=PNG),
        client.post("/encode/image", content=png(), headers={"content-type": "application/octet-stream"}),
        client.post("/encode/image", json={"images": [text64(png())]}),
        client.post("/encode/image", json={"images": ["data:image/png;base64," + text64(png())]}),
        client.post("/encode/image", content=npy(red), headers=NPY),
        client.post("/encode/image", content=npy(red[None] / 255), headers=NPY),
        client.post("/encode/image", content=npy(np.asfortranarray(red)), headers=NPY),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.json()["embeddings"] == [pytest.approx(expected_red)]
        assert answer.json()["codes"] == [0]


def test_texts_are_encoded_as_the_session_does(client: TestClient, session: Session) -> None:
    texts = ["red cars", "a fox", "one two three four five six seven eight nine"]
    answer = client.post("/encode/text", json={"texts": texts}).json()
    expected = session.encode_texts(texts)
    assert answer["embeddings"] == expected.embedding.tolist()
    assert [note is None for note in answer["notes"]] == [True, True, False]
    assert "only the beginning" in answer["notes"][2]


def test_match_scores_every_image_with_every_text(client: TestClient, session: Session) -> None:
    images, texts = [png("red"), png("white")], ["a fox", "two red cars", "a"]
    answer = client.post("/match", json={"images": [text64(i) for i in images], "texts": texts}).json()
    features, words = session.encode_images(images), session.encode_texts(texts)
    for row in range(2):
        expected = session.match(features, words, np.full(3, row))
        assert answer["scores"][row] == pytest.approx(expected.tolist())
        assert answer["cosines"][row] == pytest.approx((words.embedding @ features.embedding[row]).tolist(), abs=1e-6)


def test_search_finds_by_text_and_by_example_and_shows_thumbnails(client: TestClient) -> None:
    found = client.post("/search", json={"text": "red cars", "top": 2, "rerank": 0}).json()
    assert [hit["path"] for hit in found["hits"]] == ["red/0.png", "red/1.png"]
    ordered = client.post("/search", json={"text": "red cars", "top": 3, "rerank": 3}).json()["hits"]
    assert ordered == sorted(ordered, key=lambda hit: -hit["match"])
    example = client.post("/search", json={"image": text64(png("blue")), "top": 1}).json()["hits"]
    assert (example[0]["path"], example[0]["match"]) == ("blue/0.png", None)
    picture = client.get("/thumbnail", params={"path": "red/0.png"})
    assert picture.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.content)).size == (16, 12)


def test_pictures_that_are_gone_are_not_ranked(client: TestClient, photos: Path) -> None:
    (photos / "red" / "0.png").unlink()
    (photos / "red" / "1.png").write_text("damaged")
    hits = client.post("/search", json={"text": "red cars", "top": 3, "rerank": 3}).json()["hits"]
    assert [hit["path"] for hit in hits] == ["red/2.png"]
    assert client.get("/thumbnail", params={"path": "red/0.png"}).status_code == 404


def test_only_indexed_pictures_have_thumbnails(client: TestClient, photos: Path) -> None:
    (photos.parent / "secret.png").write_bytes(png())
    for path in ("../secret.png", str(photos.parent / "secret.png"), "red/../../secret.png", "", "red"):
        assert client.get("/thumbnail", params={"path": path}).status_code == 404


def test_health_metrics_page_and_description(client: TestClient) -> None:
    health = client.get("/healthz").json()
    assert (health["status"], health["bundle"], health["pictures"]) == ("ok", "by-hand", 9)
    client.post("/encode/text", json={"texts": ["a fox", "a car"]})
    client.get("/nowhere")
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'cbalign_requests_total{route="/encode/text",status="200"} 1.0' in metrics.text
    assert 'cbalign_requests_total{route="none",status="404"} 1.0' in metrics.text
    assert 'cbalign_batch_size_sum{graph="text"} 2.0' in metrics.text
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert set(client.get("/openapi.json").json()["paths"]) >= {"/encode/image", "/encode/text", "/match", "/search"}


def wrong_image(data: bytes, headers: dict[str, str] = PNG) -> dict:
    return {"url": "/encode/image", "content": data, "headers": headers}


def float_tiff(value: float) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.float32)).save(file, "TIFF")
    return file.getvalue()


WRONG = {
    "no image": (wrong_image(b"not an image"), 422, "not an image"),
    "empty body": (wrong_image(b""), 422, "empty"),
    "truncated": (wrong_image(png(size=64)[:-40]), 422, "cannot be decoded"),
    "PostScript": (wrong_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), 422, "not an image"),
    "bomb": (wrong_image(bomb(30_000, 30_000)), 422, "too many pixels"),
    "large": (wrong_image(bomb(1001, 1000)), 422, "1001 x 1000 pixels, more than the 1,000,000"),
    "NaN in a file": (wrong_image(float_tiff(float("nan"))), 422, "16 of 16 pixels are not numbers"),
    "NaN in an array": (wrong_image(npy(np.full((4, 4, 3), np.nan)), NPY), 422, "are not finite"),
    "array of ints": (wrong_image(npy(np.zeros((4, 4, 3), np.int64)), NPY), 422, "not int64"),
    "array of objects": (wrong_image(npy(np.array([None])), NPY), 422, "not object"),
    "flat array": (wrong_image(npy(np.zeros(9, np.uint8)), NPY), 422, "must be (H, W, 3)"),
    "array of no image": (wrong_image(npy(np.zeros((0, 4, 4, 3), np.uint8)), NPY), 422, "not (0, 4, 4, 3)"),
    "array of many": (wrong_image(npy(np.zeros((2000, 1, 1, 3), np.uint8)), NPY), 422, "2,000 images, but a request"),
    "array that claims more": (wrong_image(npy(np.zeros((4, 4, 3), np.uint8))[:-1], NPY), 422, "needs 48"),
    "no array": (wrong_image(b"\x93NUMPY\x01\x00\x10\x00{'descr': 1}", NPY), 422, "not a NumPy array"),
    "content type": (wrong_image(png(), {"content-type": "text/plain"}), 415, "accepts image/*"),
    "no content type": ({"url": "/encode/text", "content": b'{"texts": ["a"]}'}, 415, "application/json, not nothing"),
    "no base64": ({"url": "/encode/image", "json": {"images": ["?"]}}, 422, "image 1: not base64"),
    "no JSON": (
        {"url": "/match", "content": b"{", "headers": {"content-type": "application/json"}}, 422, "is not JSON"
    ),
    "no JSON for images": (
        {"url": "/encode/image", "content": b"[", "headers": {"content-type": "application/json"}}, 422, "is not JSON"
    ),
    "deep JSON": (
        {"url": "/match", "content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, 4, ""
    ),
    "unknown key": ({"url": "/search", "json": {"text": "a", "tops": 3}}, 422, "tops: Extra inputs"),
    "wrong type": ({"url": "/encode/text", "json": {"texts": "a fox"}}, 422, "texts: Input should be"),
    "NaN for a text": (
        {"url": "/encode/text", "content": b'{"texts": [NaN]}', "headers": {"content-type": "application/json"}},
        422,
        "texts.0",
    ),
    "no words": ({"url": "/encode/text", "json": {"texts": ["?!"]}}, 422, "has no words"),
    "long text": ({"url": "/search", "json": {"text": "word " * 10_000}}, 422, "10,000 words"),
    "too many texts": ({"url": "/encode/text", "json": {"texts": ["a"] * 65}}, 422, "at most 64"),
    "too many pairs": (
        {"url": "/match", "json": {"images": [text64(png())] * 9, "texts": ["a"] * 9}}, 422, "exceed 64 pairs"
    ),
    "two queries": ({"url": "/search", "json": {"text": "a", "image": text64(png())}}, 422, "either text or image"),
    "no query": ({"url": "/search", "json": {}}, 422, "either text or image"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("case", WRONG)
def test_bad_input_gets_one_message_and_the_server_lives_on(client: TestClient, case: str) -> None:
    request, status, message = WRONG[case]
    answer = client.post(**request)
    assert answer.status_code == status or answer.status_code // 100 == status, answer.text
    assert set(answer.json()) <= {"error", "remedy"}
    assert message in answer.json()["error"]
    assert client.post("/encode/text", json={"texts": ["a fox"]}).status_code == 200


def test_wrong_paths_and_methods_are_json_too(client: TestClient) -> None:
    assert (client.get("/nowhere").status_code, client.get("/nowhere").json()) == (404, {"error": "Not Found"})
    assert (client.get("/match").status_code, client.get("/match").json()) == (405, {"error": "Method Not Allowed"})


def test_bodies_are_limited_with_and_without_a_length(start: Start) -> None:
    client = start(RequestLimits(body=1000))
    assert client.post("/encode/image", content=b"x" * 1001, headers=PNG).status_code == 413
    chunks = (b"x" * 100 for _ in range(11))
    answer = client.post("/encode/image", content=chunks, headers=PNG)
    assert (answer.status_code, "larger than" in answer.json()["error"]) == (413, True)
    chunked_json = (b'{"texts": ["' if n == 0 else b"a " * 100 for n in range(11))
    answer = client.post("/encode/text", content=chunked_json, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert client.post("/encode/image", content=png(), headers=PNG).status_code == 200


def test_without_images_there_is_nothing_to_search(start: Start) -> None:
    client = start(images=False)
    answer = client.post("/search", json={"text": "red"})
    assert (answer.status_code, "--images" in answer.json()["remedy"]) == (422, True)
    assert client.get("/thumbnail", params={"path": "red/0.png"}).status_code == 404


def test_an_answer_that_takes_too_long_is_given_up(start: Start) -> None:
    client = start(RequestLimits(seconds=0.05), batches=BatchLimits(wait=30))
    answer = client.post("/encode/text", json={"texts": ["a fox"]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "no answer within 0.05 s" in answer.json()["error"]


def test_a_full_queue_is_429_and_the_server_lives_on(start: Start) -> None:
    client = start(batches=BatchLimits(queue=2))
    answer = client.post("/encode/text", json={"texts": ["a fox"] * 3})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert client.post("/encode/text", json={"texts": ["a fox"] * 2}).status_code == 200


def test_an_error_nobody_foresaw_is_500_in_json_and_the_server_lives_on(
    client: TestClient, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(session, "encode_tokens", lambda tokens: 1 / 0)
        answer = client.post("/encode/text", json={"texts": ["a fox"]})
    assert (answer.status_code, answer.json()["error"]) == (500, "unexpected ZeroDivisionError")
    assert client.post("/encode/text", json={"texts": ["a fox"]}).status_code == 200
