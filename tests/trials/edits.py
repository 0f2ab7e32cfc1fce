"""Seeded changes of files: of bytes, of lines, of values in JSON and YAML, and of headers whose checksums stay right.

An `Edit` says what it does with numbers only, so that a failing case can be printed, repeated and reduced.
"""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

Files = Mapping[str, bytes]

_DEEP: Any = []
for _ in range(200):
    _DEEP = [_DEEP]

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3.5, 2**31, 2**63, 2**70, 10**400, -(10**40), 1e308, float("nan"), float("inf")),
    *(
        "",
        " ",
        "x",
        "x" * 70_000,
        "\0",
        "\ud800",
        "é\u202e😀",
        "../../../etc/passwd",
        "/dev/zero",
        ".",
        "~",
        "a\nb",
        "1e5",
    ),
    *(
        "${env:HOME}",
        "${",
        "{}",
        "{a..b}.tar",
        "[0-9]",
        "*",
        "-",
        "nan",
        "null",
        "2020-01-01",
        "1 step",
        "0x10",
        "1_000",
    ),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": 1}}, ["a", "a"], _DEEP),
)
TOKENS = (
    *(
        b"",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\t",
        b"\r",
        b"\n",
        b"'",
        b'"',
        b"\\",
        b",",
        b":",
        b": ",
        b"- ",
        b"#",
        b"{",
        b"}",
    ),
    *(
        b"[",
        b"]",
        b"&a ",
        b"*a",
        b"!!python/object:os.system ",
        b"!x ",
        b"<<: ",
        b"|",
        b">",
        b"?",
        b"@",
        b"%",
        b"---\n",
        b"...",
    ),
    *(b"${env:X}", b"9" * 30, b"-1", b"1e999", b"NaN", b"null", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xc2\x85", b"../"),
)


@dataclass(frozen=True)
class Edit:
    """One change of one file.

    Args:
        file: name of the file.
        kind: key of `KINDS`.
        at: where, as a share of what can be changed.
        amount: how much, or which value.
    """

    file: str
    kind: str
    at: float
    amount: int

    def apply(self, files: Files) -> dict[str, bytes]:
        """Return the files with the change; as they were if it does not fit."""
        return {**files, self.file: KINDS[self.kind](files[self.file], self.at, self.amount)}

    def simpler(self) -> list[Edit]:
        """Edits that change less."""
        return [
            replace(self, amount=amount) for amount in dict.fromkeys((0, 1, self.amount // 2)) if amount < self.amount
        ]


def draw(chance: random.Random, files: Files, kinds: Callable[[str], tuple[str, ...]]) -> Edit:
    """Draw an edit of one of the files, of the kinds that fit its name."""
    file = chance.choice(sorted(files))
    return Edit(file, chance.choice(kinds(file)), chance.random(), chance.randrange(10_000))


def applied(edits: tuple[Edit, ...], files: Files) -> dict[str, bytes]:
    """Apply edits one after the other."""
    for edit in edits:
        files = edit.apply(files)
    return dict(files)


def _place(data: bytes, at: float) -> int:
    return int(at * len(data))


def _flip(data: bytes, at: float, amount: int) -> bytes:
    place = _place(data, at)
    return data[:place] + bytes([byte ^ (1 << amount % 8) for byte in data[place : place + 1]]) + data[place + 1 :]


def _set(data: bytes, at: float, amount: int) -> bytes:
    place = _place(data, at)
    return data[:place] + bytes([amount % 256]) * len(data[place : place + 1]) + data[place + 1 :]


def _remove(data: bytes, at: float, amount: int) -> bytes:
    place = _place(data, at)
    return data[:place] + data[place + 1 + amount % 64 :]


def _cut(data: bytes, at: float, amount: int) -> bytes:
    return data[: _place(data, at)]


def _repeat(data: bytes, at: float, amount: int) -> bytes:
    place, length = _place(data, at), 1 + amount % 2_000
    return data[: place + length] + data[place:]


def _token(data: bytes, at: float, amount: int) -> bytes:
    place = _place(data, at)
    return data[:place] + TOKENS[amount % len(TOKENS)] + data[place:]


def _append(data: bytes, at: float, amount: int) -> bytes:
    return data + TOKENS[amount % len(TOKENS)] * (1 + int(at * 100))


def _number(data: bytes, at: float, amount: int) -> bytes:
    """Replace the next digits by another number."""
    found = re.compile(rb"-?\d[\d.]*").search(data, _place(data, at))
    values = [b"0", b"-1", b"1", b"7", b"99999999999999999999", b"1e9", b"0.5", b"NaN", b"000", b"2147483648", b"4096"]
    return data if found is None else data[: found.start()] + values[amount % len(values)] + data[found.end() :]


def _lines(change: Callable[[list[bytes], int, int], None]) -> Callable[[bytes, float, int], bytes]:
    def edit(data: bytes, at: float, amount: int) -> bytes:
        lines = data.splitlines(keepends=True)
        if lines:
            change(lines, int(at * len(lines)), amount)
        return b"".join(lines)

    return edit


def _remove_line(lines: list[bytes], at: int, amount: int) -> None:
    del lines[at]


def _repeat_line(lines: list[bytes], at: int, amount: int) -> None:
    lines.insert(amount % (len(lines) + 1), lines[at])


def _indent(lines: list[bytes], at: int, amount: int) -> None:
    lines[at] = b" " * (amount % 5) + lines[at].lstrip() if amount % 2 else b"  " + lines[at]


def _swap_lines(lines: list[bytes], at: int, amount: int) -> None:
    other = amount % len(lines)
    lines[at], lines[other] = lines[other], lines[at]


def _tree(load: Callable[[bytes], Any], dump: Callable[[Any], bytes]) -> Callable[[bytes, float, int], bytes]:
    """Change a value, a key or an entry somewhere in a document."""

    def edit(data: bytes, at: float, amount: int) -> bytes:
        try:
            document = load(data)
        except (ValueError, RecursionError, yaml.YAMLError, struct.error):
            return data
        root = [document]
        places = list(_places(root, 0))
        holder, key = places[int(at * len(places))]
        kind, amount = amount % 4, amount // 4
        other_holder, other_key = places[amount % len(places)]
        if kind == 1 and holder is not root:
            del holder[key]
        elif kind == 2 and isinstance(holder, dict):
            holder[str(HOSTILE[amount % len(HOSTILE)])[:1_000]] = holder.pop(key)
        elif kind == 3:
            holder[key] = json.loads(json.dumps(other_holder[other_key], default=str))
        else:
            holder[key] = HOSTILE[amount % len(HOSTILE)]
        try:
            return dump(root[0])
        except (ValueError, TypeError, RecursionError, yaml.YAMLError):
            return data

    return edit


def _nudge(load: Callable[[bytes], Any], dump: Callable[[Any], bytes]) -> Callable[[bytes, float, int], bytes]:
    """Change a value of a document to another one of its type."""

    def edit(data: bytes, at: float, amount: int) -> bytes:
        try:
            root = [load(data)]
        except (ValueError, RecursionError, yaml.YAMLError):
            return data
        places = [(h, k) for h, k in _places(root, 0) if not isinstance(h[k], (dict, list))]
        if not places:
            return data
        holder, key = places[int(at * len(places))]
        value = holder[key]
        texts = [h[k] for h, k in places if isinstance(h[k], str)]
        if isinstance(value, bool):
            holder[key] = not value
        elif isinstance(value, (int, float)):
            holder[key] = (value + 1, value - 1, value * 2, value / 2, value // 2, -value, 0, 0.1 * value)[amount % 8]
        elif isinstance(value, str):
            holder[key] = texts[amount % len(texts)] if amount % 2 else value[: amount % 7] + value[1:]
        return dump(root[0])

    return edit


def _places(value: Any, depth: int) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys if depth < 30 else []:
        yield value, key
        yield from _places(value[key], depth + 1)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


def _load_safetensors(data: bytes) -> Any:
    (length,) = struct.unpack("<Q", data[:8])
    return {"header": json.loads(data[8 : 8 + length]), "data": data[8 + length :].hex()}


def _dump_safetensors(value: Any) -> bytes:
    header = _json(value["header"])
    return struct.pack("<Q", len(header)) + header + bytes.fromhex(value["data"])


def _tar_header(data: bytes, at: float, amount: int) -> bytes:
    """Change a byte of a member's header in a tar archive, whose checksum stays right."""
    heads = [start for start in range(0, len(data) - 511, 512) if data[start + 257 : start + 262] == b"ustar"]
    if not heads:
        return data
    head = bytearray(data[(start := heads[int(at * len(heads))]) : start + 512])
    places = [*range(100), *range(100, 148), *range(156, 265), *range(124, 136), 156]
    head[places[amount % len(places)]] = (b"0", b"7", b"\0", b"/", b".", b"\x80", b"\xff", b"L", b"x", b"2", b"S")[
        amount % 11
    ][0]
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return data[:start] + bytes(head) + data[start + 512 :]


KINDS: dict[str, Callable[[bytes, float, int], bytes]] = {
    "flip": _flip,
    "set": _set,
    "remove": _remove,
    "cut": _cut,
    "repeat": _repeat,
    "token": _token,
    "append": _append,
    "number": _number,
    "remove line": _lines(_remove_line),
    "repeat line": _lines(_repeat_line),
    "swap lines": _lines(_swap_lines),
    "indent": _lines(_indent),
    "json": _tree(json.loads, _json),
    "yaml": _tree(yaml.safe_load, _yaml),
    "nudge json": _nudge(json.loads, _json),
    "nudge yaml": _nudge(yaml.safe_load, _yaml),
    "safetensors": _tree(_load_safetensors, _dump_safetensors),
    "tar header": _tar_header,
}
BYTES = ("flip", "set", "remove", "cut", "repeat", "token", "append")
TEXT = (*BYTES, "number", "remove line", "repeat line", "swap lines", "indent")
_BY_SUFFIX = {
    "yaml": (*TEXT, *["yaml"] * 8, *["nudge yaml"] * 8),
    "json": (*TEXT, *["json"] * 8, *["nudge json"] * 4),
    "csv": TEXT,
    "jsonl": TEXT,
    "txt": TEXT,
    "tar": (*BYTES, *["tar header"] * 7),
    "safetensors": (*BYTES, *["safetensors"] * 7),
}


def kinds_for(file: str) -> tuple[str, ...]:
    """Return the kinds of edits that fit a file's name, the more useful ones several times."""
    return _BY_SUFFIX.get(file.rpartition(".")[2], BYTES)
