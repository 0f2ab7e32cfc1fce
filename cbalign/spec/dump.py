"""An experiment as YAML that loads to the same experiment, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import yaml

from cbalign.spec.document import Data
from cbalign.spec.environment import escape
from cbalign.spec.experiment import Experiment
from cbalign.spec.fields import leaves
from cbalign.spec.section import Effect

_UNCOUNTED = (Effect.RUNTIME, Effect.LABEL)


def as_data(experiment: Experiment) -> dict[str, Data]:
    """The experiment with every default filled in, as JSON holds it."""
    data: dict[str, Data] = experiment.model_dump(mode="json")
    return data


def dump_yaml(experiment: Experiment) -> str:
    """The resolved spec: every value, in the order of the language. Loading it gives an equal experiment."""
    return write_yaml(as_data(experiment))


def write_yaml(data: Data) -> str:
    """Plain data as YAML that any reader, of 1.1 or 1.2, takes for the same values.

    Lists without names inside stand on one line.
    """
    return yaml.dump(_escaped(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def fingerprint(experiment: Experiment) -> str:
    """SHA-256, in hex, of all values that a result can depend on: names, notes and speed are left out."""
    values = {path: value for path, value, effect in leaves(experiment) if effect not in _UNCOUNTED}
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _escaped(data: Data) -> Data:
    match data:
        case str():
            return escape(data)
        case list():
            return [_escaped(item) for item in data]
        case dict():
            return {name: _escaped(value) for name, value in data.items()}
    return data


class _Dumper(yaml.SafeDumper):
    """Quotes every text that some reader could take for a number, and keeps lists of scalars on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?\Z"), list("-+.0123456789")
)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"0o[0-7]+\Z"), ["0"])


def _represent_list(dumper: _Dumper, items: list[Data]) -> yaml.SequenceNode:
    flow = not any(isinstance(item, dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)


_Dumper.add_representer(list, _represent_list)
