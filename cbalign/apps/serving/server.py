"""Listen for requests and shut down gracefully: on a signal, finish the requests in progress and exit with 0."""

from __future__ import annotations

import copy
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG

from cbalign.errors import UsageError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket; port 0 selects a free port.

    Raises:
        UsageError: the address is unavailable or in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
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
    app: FastAPI, listening: socket.socket, *, patience: float, started: Callable[[], None]
) -> None:
    """Serve until SIGINT or SIGTERM; a second signal stops immediately.

    Args:
        app: the application.
        listening: socket from `bind`.
        patience: seconds for requests in progress to finish after a signal.
        started: called when the server is ready.
    """
    config = uvicorn.Config(
        app, log_config=_log_to_stderr(), log_level="info", timeout_graceful_shutdown=max(1, round(patience))
    )
    # When it has stopped, uvicorn raises the signal again for earlier handlers; there are none here.
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    try:
        _Announcing(config, started).run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()


def _log_to_stderr() -> dict[str, Any]:
    """Return uvicorn's log configuration, with access logs on stderr instead of stdout."""
    config: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    config["handlers"]["access"]["stream"] = "ext://sys.stderr"
    return config
