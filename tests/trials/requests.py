"""Changed HTTP requests, in one process with the application.

A changed request is answered, or refused with 4xx and one bounded message; never a 5xx or an exception. After every
tenth, a correct request must get the same answer as before. `soak.py` does the same through sockets, with faults.
"""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient

from cbalign.apps.search.index import open_index
from cbalign.apps.serving.app import create_app
from cbalign.apps.serving.batching import BatchLimits
from cbalign.apps.serving.gate import RequestLimits
from cbalign.apps.serving.metrics import Metrics
from cbalign.apps.serving.service import PixelLimits, Service
from cbalign.runtime.session import Session
from tests.apps.search.conftest import write_photo
from tests.apps.serving.conftest import npy, png
from tests.runtime.conftest import write_bundle
from tests.trials.edits import HOSTILE
from tests.trials.mutation import Base, Mutation, require
from tests.trials.trial import check_message

_TEXTS = {"texts": ["a red fox", "two cars"]}
_HEAD = (
    "content-type",
    "authorization",
    "accept",
    "content-encoding",
    "x-request-id",
    "origin",
    "range",
    "content-length",
)


class Requests(Mutation):
    """Changed requests."""

    name, full = "requests", 1_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        write_bundle(folder / "bundle")
        (folder / "photos").mkdir()
        for number in range(4):
            write_photo(folder / "photos" / f"{number}.png", number % 3, 200)
        session = Session.open(folder / "bundle", "cpu")
        index = open_index(session, folder / "photos", folder / "cache")
        limits = PixelLimits(1_000_000, 2_000_000)
        app = create_app(Service(session, index, BatchLimits(), limits, Metrics(session)), RequestLimits(seconds=20))
        self._client = TestClient(app, "http://localhost", raise_server_exceptions=True).__enter__()
        self._expected = self._client.post("/encode/text", json=_TEXTS).json()

    def bases(self) -> list[Base]:
        """Correct requests, of a body and a head."""
        return _BASES

    def judge(self, base: Base, files: dict[str, bytes], number: int) -> str:
        """Send a request."""
        try:
            head = {str(k): str(v) for k, v in json.loads(files["head.json"]).items()}
            url, method = "http://localhost/" + head.pop("url", "").lstrip("/"), head.pop("method", "POST")
            headers = {name.encode("ascii"): value.encode("latin-1", "replace") for name, value in head.items()}
            body = next(content for name, content in files.items() if name != "head.json")
            request = self._client.build_request(method, url, content=body, headers=headers)
        except (ValueError, UnicodeError, AttributeError, TypeError):
            return "no request"
        except Exception as error:
            if type(error).__module__.startswith(("httpx", "h11")):
                return "no request"
            raise
        answer = self._client.send(request)
        require(answer.status_code < 500, f"{answer.status_code} {answer.text[:300]}")
        if answer.status_code >= 400:
            values = answer.json()
            require(set(values) <= {"error", "remedy"}, f"an answer with {sorted(values)}")
            check_message(" ".join(values.values()))
            require(len(values["error"]) < 800, f"{len(values['error'])} characters: {values['error'][:300]}")
        if number % 10 == 0:
            require(
                self._client.post("/encode/text", json=_TEXTS).json() == self._expected, "another answer than before"
            )
        return str(answer.status_code)


def _request(name: str, url: str, body: tuple[str, bytes], content_type: str, method: str = "POST") -> Base:
    head = {"method": method, "url": url, "content-type": content_type}
    return Base(name, {"head.json": json.dumps(head).encode(), body[0]: body[1]}, often=body[0])


def _json(values: object) -> tuple[str, bytes]:
    return "body.json", json.dumps(values).encode()


def _make() -> list[Base]:
    image = base64.b64encode(png("red", 9)).decode()
    pixels = np.zeros((2, 5, 4, 3), np.uint8)
    as_json = "application/json"
    made = [
        _request("texts", "/encode/text", _json(_TEXTS), as_json),
        _request("images", "/encode/image", _json({"images": [image, f"data:image/png;base64,{image}"]}), as_json),
        _request("a file", "/encode/image", ("body.png", png("blue", 30)), "image/png"),
        _request("an array", "/encode/image", ("body.npy", npy(pixels)), "application/x-npy"),
        _request("floats", "/encode/image", ("body.npy", npy(pixels.astype(np.float32))), "application/x-npy"),
        _request("match", "/match", _json({"images": [image], "texts": ["a fox", "a car"]}), as_json),
        _request("search", "/search", _json({"text": "red cars", "top": 2, "rerank": 2}), as_json),
        _request("an example", "/search", _json({"image": image, "top": 1}), as_json),
        _request("thumbnail", "/thumbnail?path=0.png", _json({}), as_json, "GET"),
        _request("health", "/healthz", _json({}), as_json, "GET"),
    ]
    chance = random.Random(0)
    for index, base in enumerate(made[:8]):  # with other headers
        head = json.loads(base.files["head.json"]) | {_HEAD[index]: str(chance.choice(HOSTILE))[:100]}
        made.append(
            Base(
                f"{base.name}, {_HEAD[index]}", {**base.files, "head.json": json.dumps(head).encode()}, often=base.often
            )
        )
    return made


_BASES = _make()
