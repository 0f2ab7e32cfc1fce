"""Limits on connections: their number, the time for a request's head, and the time that they may do nothing.

uvicorn limits none of these: clients that open connections and send half a head would keep all of them for as long as
they like. A `Listener` counts connections where they are accepted, TLS handshakes included; `connection_class` makes
uvicorn's protocol report when a request begins and ends; and `Listener.close_late` closes those whose time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_RESERVED = 64
"""File descriptors for everything except connections."""

_MOST_CLOSING = 16
"""Replaced connections that still have a file descriptor."""


@dataclass(frozen=True)
class ConnectionLimits:
    """At most `connections`, `idle` seconds for a head or between requests, and `busy` seconds for a request.

    `busy` is for clients that do not read their answer; `RequestLimits.seconds` ends what takes long to compute.
    """

    connections: int = 256
    idle: float = 10.0
    busy: float = 60.0


class _Accepted:
    """An open connection: when it has to be closed, and since when it waits for its client."""

    def __init__(self, accepted: socket.socket, seconds: float) -> None:
        self.accepted = accepted
        self.since = monotonic()
        self.deadline = self.since + seconds
        self.transport: asyncio.Transport | None = None  # None during a TLS handshake
        self.is_computing: Callable[[], bool] = lambda: False

    @property
    def is_open(self) -> bool:
        return self.accepted.fileno() >= 0

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()
        elif self.is_open:
            with contextlib.suppress(OSError):  # the client was faster
                self.accepted.shutdown(socket.SHUT_RDWR)


class Listener(socket.socket):
    """A listening socket that limits its open connections.

    When the limit is reached, a new connection replaces the one whose client has been slow for longest: with a request
    that is not complete, with reading its answer, or between requests. If all answers are being computed, the new one
    is closed.
    """

    limits = ConnectionLimits()

    def limit(self, limits: ConnectionLimits) -> None:
        """Set the limits; more connections than this process may have open files are not accepted."""
        most = _most_files()
        connections = limits.connections if most is None else max(1, min(limits.connections, most - _RESERVED))
        self.limits = ConnectionLimits(connections, limits.idle, limits.busy)
        self._open: dict[int, _Accepted] = {}  # by file descriptor
        self._closing: list[_Accepted] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, within the limit.

        Raises:
            BlockingIOError: the connection was closed, because all others are answered; or it has to wait a moment.
        """
        self._closing = [each for each in self._closing if each.is_open]
        if len(self._closing) >= _MOST_CLOSING:
            raise BlockingIOError  # asyncio asks again when it has closed them
        accepted, address = super().accept()
        self._open = {number: each for number, each in self._open.items() if each.is_open}
        if len(self._open) >= self.limits.connections and not self._make_room():
            accepted.close()
            raise BlockingIOError
        self._open[accepted.fileno()] = _Accepted(accepted, self.limits.idle)
        return accepted, address

    def find(self, transport: asyncio.Transport, is_computing: Callable[[], bool]) -> _Accepted | None:
        """Return the accepted connection of a transport, and keep the function that tells what it does."""
        found = self._open.get(transport.get_extra_info("socket").fileno())
        if found is not None:
            found.transport, found.is_computing = transport, is_computing
        return found

    def close_late(self) -> None:
        """Close the connections whose time is over."""
        now = monotonic()
        for number, each in list(self._open.items()):
            if each.deadline < now or not each.is_open:
                del self._open[number]
                each.close()

    def _make_room(self) -> bool:
        slow = [(each.since, number) for number, each in self._open.items() if not each.is_computing()]
        if not slow:
            return False
        replaced = self._open.pop(min(slow)[1])
        replaced.close()
        self._closing.append(replaced)
        return True


def connection_class(listener: Listener) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol for HTTP/1.1, which reports requests to the listener."""

    class Connection(H11Protocol):
        """A connection that sets its deadline: for the head, for the answer, and for the next head."""

        accepted: _Accepted | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.accepted = listener.find(transport, self._is_computing)

        def data_received(self, data: bytes) -> None:
            had_request = self._has_request
            super().data_received(data)
            if self._has_request and not had_request:
                self._allow(listener.limits.busy)

        def on_response_complete(self) -> None:
            # uvicorn closes an idle connection after `idle` seconds, unless the client has not read its answer by then.
            self._allow(listener.limits.busy if self.transport.get_write_buffer_size() else listener.limits.idle + 1)
            if self.accepted is not None:
                self.accepted.since = monotonic()
            super().on_response_complete()  # may begin with the next request, if it is already here
            if self._has_request:
                self._allow(listener.limits.busy)

        @property
        def _has_request(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _is_computing(self) -> bool:
            return self._has_request and not self.cycle.more_body and not self.transport.get_write_buffer_size()

        def _allow(self, seconds: float) -> None:
            if self.accepted is not None:
                self.accepted.deadline = monotonic() + seconds

    return Connection


def _most_files() -> int | None:
    """Return how many files this process may have open; None if there is no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
