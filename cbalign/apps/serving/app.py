"""The HTTP interface: routes, their request and response formats, and the status codes of errors."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from importlib import resources
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from cbalign.apps.serving.access import AccessRules
from cbalign.apps.serving.batching import Busy
from cbalign.apps.serving.gate import Gate, RequestLimits, error_response
from cbalign.apps.serving.metrics import CONTENT_TYPE
from cbalign.apps.serving.pictures import NPY, from_base64
from cbalign.apps.serving.service import EncodedImage, EncodedText, Service
from cbalign.errors import CbalignError, DataError, UsageError

MOST = 64
"""Maximum number of images, texts or pairs per request."""

_Base64 = Annotated[str, Field(min_length=1, description="An image file in base64, or a data URL.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextsBody(_Body):
    """Body of /encode/text."""

    texts: list[str] = Field(min_length=1, max_length=MOST)


class ImagesBody(_Body):
    """JSON body of /encode/image."""

    images: list[_Base64] = Field(min_length=1, max_length=MOST)


class MatchBody(_Body):
    """Body of /match: every image is scored with every text."""

    images: list[_Base64] = Field(min_length=1, max_length=MOST)
    texts: list[str] = Field(min_length=1, max_length=MOST)


class SearchBody(_Body):
    """Body of /search: either a text or an example image."""

    text: str | None = None
    image: _Base64 | None = None
    top: int = Field(12, ge=1, le=200, description="Number of images to return.")
    rerank: int = Field(16, ge=0, le=MOST, description="Number of nearest images that the matcher reranks.")


def create_app(service: Service, limits: RequestLimits, access: AccessRules | None = None) -> FastAPI:
    """Create the application; its lifespan starts and stops the service's queues.

    Args:
        service: the operations.
        limits: limits of requests.
        access: who may use the server; by default everyone who names it by an IP address or as localhost.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service:
            yield

    app = FastAPI(title="cbalign", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Gate, limits=limits, access=access or AccessRules(), metrics=service.metrics)
    _handle_errors(app)
    _add_models(app, service)
    _add_search(app, service)
    _add_operations(app, service)
    return app


def _add_models(app: FastAPI, service: Service) -> None:
    @app.post("/encode/image", openapi_extra=_image_body())
    async def encode_image(request: Request) -> JSONResponse:
        """Embed an image file, several images in JSON, or a NumPy array; includes codes if there is a codebook."""
        kind = _content_type(request)
        if kind == "application/json":
            body = ImagesBody.model_validate_json(await request.body())
            images = await service.encode_files(_files(body.images))
        elif kind == NPY:
            images = await service.encode_array(await request.body(), MOST)
        elif kind.startswith("image/") or kind == "application/octet-stream":
            images = await service.encode_files([await request.body()])
        else:
            raise HTTPException(
                415, f"/encode/image accepts image/*, {NPY} or application/json, not {kind or 'nothing'}"
            )
        return JSONResponse(_encoded(images))

    @app.post("/encode/text", dependencies=[Depends(_require_json)])
    async def encode_text(body: TextsBody) -> JSONResponse:
        """Embed texts; includes codes if there is a codebook. `notes` reports truncated texts."""
        texts = await service.encode_texts(body.texts)
        return JSONResponse({**_encoded(texts), "notes": [text.note for text in texts]})

    @app.post("/match", dependencies=[Depends(_require_json)])
    async def match(body: MatchBody) -> JSONResponse:
        """Score every image (rows) with every text: match `scores` and `cosines`."""
        if len(body.images) * len(body.texts) > MOST:
            raise UsageError(f"{len(body.images)} images with {len(body.texts)} texts exceed {MOST} pairs")
        texts = await service.encode_texts(body.texts)
        images = await service.encode_files(_files(body.images))
        scores = await service.match(images, texts)
        cosines = [[float(image.embedding @ text.embedding) for text in texts] for image in images]
        return JSONResponse({"scores": scores.tolist(), "cosines": cosines})


def _add_search(app: FastAPI, service: Service) -> None:
    @app.post("/search", dependencies=[Depends(_require_json)])
    async def search(body: SearchBody) -> JSONResponse:
        """Search the server's folder for images that match a text or resemble an example image, best first."""
        if (body.text is None) == (body.image is None):
            raise UsageError("give either text or image")
        query: EncodedImage | EncodedText
        if body.text is not None:
            (query,) = await service.encode_texts([body.text])
        else:
            (query,) = await service.encode_files(_files([body.image or ""]))
        hits = await service.search(query, body.top, body.rerank)
        note = query.note if isinstance(query, EncodedText) else None
        found = [
            {"path": _text(h.path), "copies": [*map(_text, h.copies)], "score": h.score, "match": h.match} for h in hits
        ]
        return JSONResponse({"hits": found, "note": note})

    @app.get("/thumbnail", response_class=Response)
    async def thumbnail(path: str) -> Response:
        """Return a JPEG thumbnail of a search result."""
        try:
            return Response(await service.thumbnail(path), media_type="image/jpeg")
        except DataError as error:
            raise HTTPException(404, error.message) from error


def _add_operations(app: FastAPI, service: Service) -> None:
    page = resources.files("cbalign.apps.serving").joinpath("page.html").read_text(encoding="utf-8")
    policy = {"content-security-policy": _content_policy(page)}

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers=policy)

    @app.get("/healthz")
    async def healthz(request: Request) -> JSONResponse:
        """Report the server's status and the served bundle; without the token, only the status."""
        if not request.state.authorised:
            return JSONResponse({"status": "ok"})
        session, manifest = service.session, service.session.bundle.manifest
        return JSONResponse(
            {
                "status": "ok",
                "bundle": manifest.name,
                "run": manifest.run,
                "step": manifest.step,
                "spec_fingerprint": manifest.spec_fingerprint,
                "graphs": list(manifest.graphs),
                "precision": session.precision,
                "device": session.device.kind,
                "image_size": session.image_size,
                "pictures": None if service.index is None else len(service.index.contents.paths),
            }
        )

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return metrics for Prometheus."""
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(CbalignError)
    async def known(_: Request, error: CbalignError) -> JSONResponse:
        return error_response(422 if isinstance(error, DataError | UsageError) else 500, error.message, error.remedy)

    @app.exception_handler(Busy)
    async def busy(_: Request, error: Busy) -> JSONResponse:
        return error_response(429, "the queue is full", "Try again in a second.")

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return error_response(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(422, _mistake(error.errors()[0]))

    @app.exception_handler(ValidationError)
    async def invalid_images(_: Request, error: ValidationError) -> JSONResponse:
        return error_response(422, _mistake(dict(error.errors()[0])))


def _content_policy(page: str) -> str:
    """Return a policy that lets a page run its own script and style only, and talk to this server only."""

    def hashes(tag: str) -> str:
        texts = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        return " ".join(f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'" for text in texts)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; connect-src 'self'; "
        "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _mistake(error: dict[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"the body is not JSON ({error.get('ctx', {}).get('error', error['msg'])})"
    place = ".".join(str(part) for part in error["loc"] if part != "body")
    return f"{place}: {error['msg']}" if place else str(error["msg"])


def _encoded(items: Sequence[EncodedImage] | Sequence[EncodedText]) -> dict[str, object]:
    found: dict[str, object] = {"embeddings": [item.embedding.tolist() for item in items]}
    if items and items[0].code is not None:
        found["codes"] = [item.code for item in items]
    return found


def _text(path: str) -> str:
    return path.encode("utf-8", "replace").decode()


def _files(images: Sequence[str]) -> list[bytes]:
    return [from_base64(text, f"image {number}") for number, text in enumerate(images, 1)]


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _require_json(request: Request) -> None:
    if (kind := _content_type(request)) != "application/json":
        raise HTTPException(415, f"{request.url.path} accepts application/json, not {kind or 'nothing'}")


def _image_body() -> dict[str, object]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = {"image/*": binary, NPY: binary, "application/json": {"schema": ImagesBody.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}
