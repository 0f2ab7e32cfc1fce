"""Write experiments as YAML, and compute their fingerprints."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain, repeat
from typing import Any

import yaml

from cbalign.experiment.document import Data
from cbalign.experiment.environment import escape
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import leaves
from cbalign.parts.section import Effect

REMARK_COLUMN = 60  # longer lines do not move the remarks of the others
_UNCOUNTED = (Effect.RUNTIME, Effect.LABEL)


def as_data(experiment: Experiment) -> dict[str, Data]:
    """Convert the experiment, with every default filled in, to JSON data."""
    data: dict[str, Data] = experiment.model_dump(mode="json")
    return data


def dump_yaml(experiment: Experiment) -> str:
    """Write the resolved spec: every value, in schema order. Loading it returns an equal experiment."""
    return write_yaml(as_data(experiment))


def write_yaml(data: Data, remarks: Mapping[str, str] | None = None) -> str:
    """Write plain data as YAML that loads to the same values.

    Args:
        data: the data; lists that contain no mappings are written on one line.
        remarks: comments for the lines of dotted paths.
    """
    lines = list(_lines(data, "", remarks or {}))
    width = max((len(text) for text, remark in lines if remark and len(text) < REMARK_COLUMN), default=0)
    return "".join(f"{text:<{width}}  # {remark}\n" if remark else f"{text}\n" for text, remark in lines)


def experiment_fingerprint(experiment: Experiment) -> str:
    """Return the SHA-256, in hex, of all values that affect results; names, notes and runtime settings are excluded."""
    canonical = json.dumps(counted_settings(experiment), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def counted_settings(experiment: Experiment) -> dict[str, object]:
    """Return the values that affect results by dotted path, which the fingerprint consists of."""
    return {path: value for path, value, effect in leaves(experiment, later=False) if effect not in _UNCOUNTED}


def _lines(data: Data, path: str, remarks: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Yield lines with their remarks."""
    if isinstance(data, dict) and data:
        for name, value in data.items():
            below = f"{path}.{name}" if path else name
            if _has_names(value):
                yield f"{name}:", None
                yield from ((f"  {line}", remark) for line, remark in _lines(value, below, remarks))
            else:
                yield f"{name}: {inline(value)}", remarks.get(below)
    elif isinstance(data, list) and _has_names(data):
        for index, item in enumerate(data):
            marks = chain(["- "], repeat("  "))
            lines = _lines(item, f"{path}.{index}", remarks)
            yield from ((f"{mark}{line}", remark) for mark, (line, remark) in zip(marks, lines))
    else:
        yield inline(data), None


def _has_names(data: Data) -> bool:
    if isinstance(data, list):
        return any(isinstance(item, dict) for item in data)
    return isinstance(data, dict) and bool(data)


def inline(data: Data) -> str:
    """Format a value on one line of YAML."""
    text: str = yaml.dump(
        data, Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
    )
    return text.removesuffix("\n").removesuffix("\n...")


class _Dumper(yaml.SafeDumper):
    """A dumper that quotes every text that a YAML 1.1 or 1.2 reader could parse as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?\Z"), list("-+.0123456789")
)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"0o[0-7]+\Z"), ["0"])


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", escape(text), style=style)


_Dumper.add_representer(str, _represent_text)
