"""Write JSON documents: one format for all results and output files."""

from __future__ import annotations

import json
import math
from typing import Any


def json_document(data: Any) -> str:
    """Write data as an indented JSON document that ends with a newline.

    Keys keep their order, text stays Unicode, and numbers that JSON lacks (NaN, infinity) become `null`.
    """
    return _dumps(data, indent=2) + "\n"


def json_line(data: Any) -> str:
    """Write data as JSON on one line, for data with an entry per item."""
    return _dumps(data, indent=None) + "\n"


def _dumps(data: Any, indent: int | None) -> str:
    try:
        return json.dumps(data, ensure_ascii=False, indent=indent, allow_nan=False)
    except ValueError:  # NaN or infinity, which are too expensive to search for in advance
        return json.dumps(_finite(data), ensure_ascii=False, indent=indent, allow_nan=False)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {name: _finite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
