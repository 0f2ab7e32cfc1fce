"""Plain scalars of YAML 1.2's core schema: `1e-4` is a number, `no` is text."""

from __future__ import annotations

import math
import re

from cbalign.experiment.document import Value

MAX_DIGITS = 40  # of a whole number; more could take minutes to parse and print
MAX_WHOLE = 2**63 - 1  # what tensors can be sized and counted with

_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_TRUE = re.compile(r"(?:true|True|TRUE)\Z")
_FALSE = re.compile(r"(?:false|False|FALSE)\Z")
_DECIMAL = re.compile(r"[-+]?[0-9]+\Z")
_OCTAL = re.compile(r"0o[0-7]+\Z")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)\Z")
_NAN = re.compile(r"\.(?:nan|NaN|NAN)\Z")


def core_value(text: str) -> Value:
    """Resolve a plain scalar by YAML 1.2's core schema.

    Raises:
        ValueError: a whole number of more than `MAX_DIGITS` digits.
    """
    if _NULL.match(text):
        return None
    if _TRUE.match(text) or _FALSE.match(text):
        return bool(_TRUE.match(text))
    for pattern, start, base in ((_DECIMAL, 0, 10), (_OCTAL, 2, 8), (_HEXADECIMAL, 2, 16)):
        if pattern.match(text):
            if len(text) > MAX_DIGITS:
                raise ValueError(f"a whole number of {len(text)} digits")
            return int(text[start:], base)
    if _FLOAT.match(text):
        return float(text)
    if infinite := _INFINITE.match(text):
        return float(infinite[1] + "inf")
    return float("nan") if _NAN.match(text) else text


def plain_value(text: str) -> tuple[Value, str | None]:
    """Resolve a plain scalar to a value that a spec may have.

    Returns:
        The value and None, or a replacement of the value and what is wrong with it.
    """
    try:
        value = core_value(text)
    except ValueError:
        return 0, f"a number must have at most {MAX_DIGITS} digits"
    if isinstance(value, float) and not math.isfinite(value):
        return value, f"`{text}` is not a finite number"
    if isinstance(value, int) and abs(value) > MAX_WHOLE:
        return 0, f"`{text}` is too large: a whole number must fit into 64 bits"
    return value, None
