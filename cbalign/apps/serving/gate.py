"""Middleware for all requests: limits on number, size and time, a uniform error format, and metrics."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cbalign.apps.serving.metrics import Metrics

_ALWAYS_OPEN = ("/healthz", "/metrics")


@dataclass(frozen=True)
class RequestLimits:
    """At most `requests` at a time, `body` bytes each, and `seconds` per response, half of them for reading."""

    requests: int = 64
    body: int = 16 << 20
    seconds: float = 30.0


def error_response(status: int, message: str, remedy: str | None = None) -> JSONResponse:
    """Return an error response: `{"error": ..., "remedy": ...}`."""
    headers = {"retry-after": "1"} if status in (429, 503) else None
    content = {"error": message} if remedy is None else {"error": message, "remedy": remedy}
    return JSONResponse(content, status, headers)


class Gate:
    """ASGI middleware that enforces the limits, except for `/healthz` and `/metrics`.

    Args:
        app: the wrapped application.
        limits: limits of requests.
        metrics: counts every response.
    """

    def __init__(self, app: ASGIApp, limits: RequestLimits, metrics: Metrics) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in _ALWAYS_OPEN:
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        started = perf_counter()
        self._inside += 1
        self._metrics.in_flight.set(self._inside)
        try:
            await self._let_in(scope, receive, answer)
        finally:
            self._inside -= 1
            self._metrics.in_flight.set(self._inside)
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, str(answer.status or 500)).inc()
            self._metrics.seconds.labels(route).observe(perf_counter() - started)

    async def _let_in(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if self._inside > self._limits.requests:
            await error_response(429, "too many concurrent requests", "Try again in a second.")(scope, receive, answer)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limits.body:
            await error_response(413, self._too_large())(scope, receive, answer)
            return
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._app(scope, _LimitedBody(receive, self._limits, self._too_large()), answer)
        except TimeoutError:
            if answer.status is not None:
                raise
            message = f"no answer within {self._limits.seconds:g} s"
            await error_response(503, message, "Try again later.")(scope, receive, answer)

    def _too_large(self) -> str:
        return f"the request is larger than {self._limits.body / 1e6:,.1f} MB"


class _Answer:
    """Forwards messages and records the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


class _LimitedBody:
    """Forwards the request body unless it is too large or too slow."""

    def __init__(self, receive: Receive, limits: RequestLimits, too_large: str) -> None:
        self._receive = receive
        self._limits = limits
        self._too_large = too_large
        self._bytes = 0
        self._deadline = asyncio.get_running_loop().time() + limits.seconds / 2
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the request was sent too slowly") from None
        self._bytes += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._bytes > self._limits.body:
            raise HTTPException(413, self._too_large)
        return message
