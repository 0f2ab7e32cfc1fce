"""The server's log: on stderr, a limited number of lines per second, each of limited length, with request ids."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

LONGEST = 500
"""Characters of a line of the log; the rest is cut off."""

MOST_LINES = 100
"""Lines of one entry, such as a traceback."""

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request that the current task handles."""


class LimitedHandler(logging.StreamHandler[Any]):
    """Writes to stderr, at most `lines` lines per second; counts what it leaves out.

    A log that cannot be written, because the disk is full or nobody reads, never disturbs the server.
    """

    def __init__(self, lines: int = 100, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._lines = lines
        self._clock = clock
        self._second = 0
        self._written = 0
        self._left_out = 0
        self._counting = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Write an entry if this second still has room for it."""
        try:
            text = self.format(record)
            with self._counting:
                text = self._admitted(text)
            if text:
                self.stream.write(text + self.terminator)
                self.stream.flush()
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Ignore errors of the log."""

    def _admitted(self, text: str) -> str:
        lines = text.count("\n") + 1
        second = int(self._clock())
        note = ""
        if second != self._second:
            note = f"({self._left_out:,} entries left out)\n" if self._left_out else ""
            self._second, self._written, self._left_out = second, 0, 0
        if self._written and self._written + lines > self._lines:
            self._left_out += 1
            return note.rstrip("\n")
        self._written += lines
        return note + text


class EntryFormatter(logging.Formatter):
    """Formats `2026-01-01T00:00:00 INFO [request id] message`, with long lines and tracebacks shortened."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s [%(request)s] %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Format an entry, its traceback included."""
        record.request = request_id.get()
        lines = super().format(record).split("\n")
        if len(lines) > MOST_LINES:
            half = MOST_LINES // 2
            lines = [*lines[:half], f"… {len(lines) - 2 * half} lines …", *lines[-half:]]
        return "\n".join(line if len(line) <= LONGEST else f"{line[:LONGEST]}…" for line in lines)


def new_request_id(given: bytes | None) -> str:
    """Return a client's own `x-request-id` if it is short and plain, else a random one of 16 characters."""
    text = (given or b"").decode("latin-1")
    if 0 < len(text) <= 64 and text.isascii() and text.replace("-", "").replace("_", "").replace(".", "").isalnum():
        return text
    return secrets.token_hex(8)


def log_config(lines: int) -> dict[str, Any]:
    """Return a configuration of `logging` that writes everything through one `LimitedHandler`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"entry": {"()": EntryFormatter}},
        "handlers": {"stderr": {"()": LimitedHandler, "lines": lines, "formatter": "entry"}},
        "loggers": {
            name: {"handlers": ["stderr"], "level": level, "propagate": False}
            for name, level in (("uvicorn", "INFO"), ("cbalign.apps.serving", "INFO"), ("asyncio", "ERROR"))
        },
    }
