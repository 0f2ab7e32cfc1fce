"""A parser of large JSON lists that reads one object at a time: an array of objects, or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeAlias

from cbalign.errors import DataError

JsonObject: TypeAlias = "dict[str, object]"

_CHUNK = 1 << 20
_LONGEST_ENTRY = 1 << 24
_SPACE = " \t\r\n"


def stream_objects(path: str | Path, *, field: str | None = None) -> Iterator[tuple[int, JsonObject]]:
    """Iterate over the objects of a JSON array or JSON-lines file and their numbers from 1, one at a time in memory.

    Args:
        path: the file.
        field: if given, the file is one object, and the array is this field of it.

    Raises:
        DataError: the file is missing, not UTF-8, not JSON, or contains something other than objects; the message
            names file, entry and line.
    """
    with _scanning(path) as scanner:
        yield from scanner.objects() if field is None else scanner.objects_of(field)


def leading_text(path: str | Path, name: str, *, before: str) -> str | None:
    """Return a text field of the file's one object if it precedes the field `before`; reads no further.

    Raises:
        DataError: as `stream_objects`.
    """
    with _scanning(path) as scanner:
        for field in scanner.fields():
            if field == before:
                return None
            value = scanner.value()
            if field == name:
                return value if isinstance(value, str) else None
    return None


@contextmanager
def _scanning(path: str | Path) -> Iterator[_Scanner]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield _Scanner(file, str(path))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 ({error.reason} at byte {error.start} of a block)", remedy="Save the file as UTF-8."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


class _Scanner:
    """A parser on a window of text that moves over the file."""

    def __init__(self, file: TextIO, name: str) -> None:
        self._file = file
        self._name = name
        self._text = ""
        self._at = 0
        self._line = 1
        self._entry = 0
        self._decoder = json.JSONDecoder()

    def objects(self) -> Iterator[tuple[int, JsonObject]]:
        first = self._skip_space()
        if first == "":
            raise DataError(f"{self._name}: the file is empty")
        if first == "[":
            yield from self._array()
            if self._skip_space():
                raise self._error("text after the end of the list")
            return
        while self._skip_space():
            self._entry += 1
            yield self._entry, self._object()

    def objects_of(self, field: str) -> Iterator[tuple[int, JsonObject]]:
        """Iterate over the array in a field of the file's one object; reads no further than its end."""
        for name in self.fields(f" with the field {field}"):
            if name == field:
                yield from self._array()
                return
            self.value()
        raise DataError(f"{self._name}: no field {field}")

    def fields(self, expected: str = "") -> Iterator[object]:
        """Iterate over the names of the fields of the file's one object; the caller reads the value of each."""
        if self._skip_space() != "{":
            raise self._error(f"expected an object{expected}, found {self._next()}")
        self._at += 1
        while self._skip_space() != "}":
            name = self.value()
            self._expect(":")
            self._skip_space()
            yield name
            if self._skip_space() != "}":
                self._expect(",")

    def _array(self) -> Iterator[tuple[int, JsonObject]]:
        self._expect("[")
        if self._skip_space() != "]":
            while True:
                self._entry += 1
                yield self._entry, self._object()
                if self._skip_space() != ",":
                    break
                self._at += 1
                self._skip_space()
        self._expect("]", hint="',' or ")

    def _object(self) -> JsonObject:
        if self._text[self._at : self._at + 1] != "{":
            raise self._error(f"expected an object, found {self._next()}")
        value = self.value()
        assert isinstance(value, dict)
        return value

    def value(self) -> object:
        """Parse one JSON value of any type."""
        while True:
            text, start = self._text, self._at
            try:
                value, end = self._decoder.raw_decode(text, start)
            except RecursionError:
                raise self._error("nested too deeply") from None
            except ValueError as error:
                if len(text) - start > _LONGEST_ENTRY:
                    raise self._error(
                        f"one object of more than {_LONGEST_ENTRY >> 20} MiB, or not valid JSON",
                        remedy="Read a file of Karpathy's splits with `source: karpathy`.",
                    ) from None
                if self._read():
                    continue
                if isinstance(error, json.JSONDecodeError):
                    self._line += text.count("\n", start, error.pos)
                    raise self._error(f"not valid JSON: {error.msg}") from None
                raise self._error(f"not valid JSON: {error}") from None
            # A number at the end of the window may continue after it.
            if end == len(text) and self._read():
                continue
            self._line += text.count("\n", start, end)
            self._at += end - start
            return value

    def _skip_space(self) -> str:
        """Move to the next character that is not white space, and return it; "" at the end of the file."""
        while True:
            while self._at < len(self._text):
                character = self._text[self._at]
                if character not in _SPACE:
                    return character
                self._line += character == "\n"
                self._at += 1
            if not self._read():
                return ""

    def _expect(self, character: str, hint: str = "") -> None:
        if self._skip_space() != character:
            raise self._error(f"expected {hint}{character!r}, found {self._next()}")
        self._at += 1

    def _read(self) -> bool:
        """Drop the parsed text and at least double the rest, so that parsing takes linear time."""
        ahead = self._text[self._at :]
        more = self._file.read(max(_CHUNK, len(ahead)))
        self._text, self._at = ahead + more, 0
        return bool(more)

    def _next(self) -> str:
        following = self._text[self._at : self._at + 20]
        return repr(following) if following else "the end of the file"

    def _error(self, message: str, remedy: str | None = None) -> DataError:
        return DataError(f"{self._name}, entry {self._entry} (line {self._line}): {message}", remedy=remedy)


def text_field(entry: JsonObject, name: str, where: str) -> str:
    """Return a required field of an entry that must be a text and not blank.

    Args:
        entry: the entry.
        name: of the field.
        where: file and number of the entry, for the message.

    Raises:
        DataError: the field is missing or something else.
    """
    if name not in entry:
        raise DataError(f"{where}: no field {name} (fields: {', '.join(entry) or 'none'})")
    value = entry[name]
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: field {name}: expected a text, found {value!r}")
    return value
