"""Middleware for all requests: access, limits on number, size and time, error responses, headers, log and metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cbalign.apps.serving.access import AccessRules
from cbalign.apps.serving.log import new_request_id, request_id
from cbalign.apps.serving.metrics import Metrics
from cbalign.errors import readable

_ALWAYS_OPEN = ("/healthz", "/metrics")
_CLIENT_LEFT = 499  # nginx's number; nobody receives it
_LOG = logging.getLogger(__name__)

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}


@dataclass(frozen=True)
class RequestLimits:
    """At most `requests` at a time, with `body` bytes each and `bodies` bytes together.

    Each is answered within `seconds`, half of which are for reading it.
    """

    requests: int = 64
    body: int = 16 << 20
    bodies: int = 64 << 20
    seconds: float = 30.0


_LONGEST = 600  # characters of a message, which may quote a request


def error_response(status: int, message: str, remedy: str | None = None) -> JSONResponse:
    """Return an error response: `{"error": ..., "remedy": ...}`."""
    headers = {"retry-after": "1"} if status in (429, 503) else {}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    content = {"error": readable(message, _LONGEST)} | (
        {} if remedy is None else {"remedy": readable(remedy, _LONGEST)}
    )
    return JSONResponse(content, status, headers)


class Gate:
    """ASGI middleware that enforces the rules and limits; those of number and time not for `/healthz` and `/metrics`.

    Args:
        app: the wrapped application.
        limits: limits of requests.
        access: who may use the server.
        metrics: counts every response.
    """

    def __init__(self, app: ASGIApp, limits: RequestLimits, access: AccessRules, metrics: Metrics) -> None:
        self._app = app
        self._limits = limits
        self._access = access
        self._metrics = metrics
        self._inside = 0
        self._held = 0  # bytes of the bodies of all requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        scope.setdefault("state", {})["authorised"] = self._access.is_authorised(headers)
        request_id.set(new_request_id(headers.get(b"x-request-id")))
        answer = _Answer(send)
        started = perf_counter()
        counted = scope["path"] not in _ALWAYS_OPEN
        self._count(counted)
        try:
            await self._answer(scope, receive, answer, headers)
        finally:
            self._count(-counted)
            seconds = perf_counter() - started
            if counted:
                route = getattr(scope.get("route"), "path", "none")
                self._metrics.requests.labels(route, str(answer.status or _CLIENT_LEFT)).inc()
                self._metrics.seconds.labels(route).observe(seconds)
            _LOG.info("%s %d %.0f ms", _described(scope), answer.status or _CLIENT_LEFT, 1000 * seconds)

    def _count(self, change: int) -> None:
        self._inside += change
        self._metrics.in_flight.set(self._inside)

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer, headers: Mapping[bytes, bytes]) -> None:
        try:
            response = self._refusal(scope, headers)
            if response is not None:
                await response(scope, receive, answer)
            elif scope["path"] in _ALWAYS_OPEN:
                await self._app(scope, receive, answer)
            else:
                await self._within_limits(scope, receive, answer)
        except ClientDisconnect:
            pass  # the log's line has the status 499
        except Exception as error:
            _LOG.exception("%s failed", _described(scope))
            if answer.status is None:
                message = f"unexpected {type(error).__name__}"
                await error_response(500, message, "This is a bug in cbalign; see the log.")(scope, receive, answer)

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> JSONResponse | None:
        """Return the response to a request that is refused by its head."""
        if not self._access.allows_host(headers):
            name = headers[b"host"].decode("latin-1")[:100]
            return error_response(421, f"the Host header names {name!r}", "Start the server with --allow-host NAME.")
        if self._access.needs_token(scope["path"]) and not scope["state"]["authorised"]:
            return error_response(401, "this server needs a token", "Send the header Authorization: Bearer TOKEN.")
        if scope["path"] in _ALWAYS_OPEN:
            return None
        if self._inside > self._limits.requests:
            return error_response(429, "too many concurrent requests", "Try again in a second.")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limits.body:
            return error_response(413, self._too_large())
        return None

    async def _within_limits(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        body = _LimitedBody(receive, self)
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._app(scope, body, answer)
        except TimeoutError:
            if answer.status is None:  # else a client that reads its answer too slowly, whose connection is closed
                message = f"no answer within {self._limits.seconds:g} s"
                await error_response(503, message, "Try again later.")(scope, receive, answer)
        finally:
            self._held -= body.bytes

    def _too_large(self) -> str:
        return f"the request is larger than {self._limits.body / 1e6:,.1f} MB"


class _Answer:
    """Forwards messages, adds the headers that all responses have, and records the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            added = {**_HEADERS, b"x-request-id": request_id.get().encode()}
            message = {**message, "headers": given + [item for item in added.items() if item[0] not in names]}
        await self._send(message)


class _LimitedBody:
    """Forwards the request body unless it is too large or too slow, or all bodies together are too large."""

    def __init__(self, receive: Receive, gate: Gate) -> None:
        self._receive = receive
        self._gate = gate
        self._deadline = asyncio.get_running_loop().time() + gate._limits.seconds / 2
        self._complete = False
        self.bytes = 0

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the request was sent too slowly") from None
        self._account(len(message.get("body", b"")))
        self._complete = not message.get("more_body", False)
        return message

    def _account(self, size: int) -> None:
        self.bytes += size
        self._gate._held += size
        if self.bytes > self._gate._limits.body:
            raise HTTPException(413, self._gate._too_large())
        if self._gate._held > self._gate._limits.bodies:
            raise HTTPException(429, "all requests together are too large at the moment; try again in a second")


def _described(scope: Scope) -> str:
    client = scope.get("client")
    path = scope.get("raw_path", b"").decode("ascii", "backslashreplace") or scope["path"]
    return f"{client[0] if client else '-'} {scope['method']} {path}"
