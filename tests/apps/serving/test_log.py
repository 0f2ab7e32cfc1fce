"""The log of the server: limited, and never in the way."""

from __future__ import annotations

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbalign.apps.serving.log import EntryFormatter, LimitedHandler


class Stream:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None: ...


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, "", 0, text, (), None)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=40), st.integers(1, 7))
def test_a_second_has_a_limited_number_of_lines_and_none_vanishes_uncounted(
    entries: list[tuple[int, int]], limit: int
) -> None:
    now, stream = 0, Stream()
    handler = LimitedHandler(limit, lambda: now)
    handler.setStream(stream)  # type: ignore[arg-type]
    for pause, lines in entries:
        now += pause
        handler.emit(record("\n".join(["entry"] + ["more"] * (lines - 1))))
    now += 1
    handler.emit(record("last"))
    left_out = sum(int(count) for count in re.findall(r"\((\d+) entries left out\)", stream.text))
    assert stream.text.count("entry") + left_out == len(entries)
    assert stream.text.endswith("last\n")
    seconds = now + 1
    assert stream.text.count("\n") <= seconds * (max(limit, 5) + 1)


class Full(Stream):
    def write(self, text: str) -> None:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_disturbs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    handler = LimitedHandler()
    handler.setStream(Full())  # type: ignore[arg-type]
    handler.emit(record("lost"))
    assert capfd.readouterr().err == ""


def test_long_lines_and_tracebacks_are_shortened() -> None:
    lines = EntryFormatter().format(record("\n".join(["x" * 10_000] * 10_000))).split("\n")
    assert len(lines) == 101
    assert max(map(len, lines)) <= 501
