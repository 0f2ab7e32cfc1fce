"""Listen for requests and shut down gracefully: on a signal, finish the requests in progress and exit with 0."""

from __future__ import annotations

import contextlib
import ctypes
import math
import signal
import socket
import sys
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from cbalign.apps.serving.access import Certificate
from cbalign.apps.serving.connections import ConnectionLimits, Listener, connection_class
from cbalign.apps.serving.log import log_config
from cbalign.errors import UsageError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_M_MMAP_THRESHOLD = -3  # glibc's malloc.h


def bind(host: str, port: int) -> Listener:
    """Bind a socket; port 0 selects a free port.

    Raises:
        UsageError: the address is unavailable or in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small packets at once (TCP_NODELAY) only if the protocol is given; an answer consists of two.
    listening = Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(
            f"cannot listen on {host}:{port} ({reason})", remedy="Choose another --host or --port."
        ) from None
    return listening


def serve_until_stopped(
    app: FastAPI,
    listening: Listener,
    *,
    patience: float,
    started: Callable[[], None],
    limits: ConnectionLimits | None = None,
    certificate: Certificate | None = None,
    log_lines: int = 100,
) -> None:
    """Serve until SIGINT or SIGTERM; a second signal stops immediately.

    Args:
        app: the application.
        listening: socket from `bind`.
        patience: seconds for requests in progress to finish after a signal.
        started: called when the server is ready.
        limits: limits of connections.
        certificate: for TLS; None serves HTTP without encryption.
        log_lines: lines of the log per second; more are counted but not written.
    """
    listening.limit(limits or ConnectionLimits())
    config = uvicorn.Config(
        app,
        http=connection_class(listening),
        loop="asyncio",
        ws="none",
        log_config=log_config(log_lines),
        access_log=False,  # `Gate` writes it
        backlog=128,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=max(1, math.floor(listening.limits.idle)),
        timeout_graceful_shutdown=max(1, round(patience)),
        ssl_certfile=None if certificate is None else certificate.certificate,
        ssl_keyfile=None if certificate is None else certificate.key,
    )
    # When it has stopped, uvicorn raises the signal again for earlier handlers; there are none here.
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    try:
        _Announcing(config, listening, started).run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def return_memory() -> None:
    """Make glibc give large blocks back to the system when they are freed.

    By default, each thread keeps some of what its largest image took, beyond the budget of pixels.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, listening: Listener, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening
        self._announce = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()

    async def on_tick(self, counter: int) -> bool:
        self._listening.close_late()
        return await super().on_tick(counter)
