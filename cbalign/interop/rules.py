"""Convert a configuration to a spec by a table of rules, and record what happened to each setting."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cbalign.experiment.document import Data, MapNode, Node, Place, child, plain_data
from cbalign.experiment.dump import write_yaml
from cbalign.experiment.experiment import FORMAT
from cbalign.experiment.fields import settings
from cbalign.experiment.load import ROOT
from cbalign.experiment.shapes import Choice


class Unfit(ValueError):
    """A value that cbalign cannot represent; the message gives the reason."""


@dataclass(frozen=True)
class Rule:
    """The conversion of one setting.

    Args:
        key: its dotted path in the configuration.
        path: its dotted path in the spec; None if the setting is dropped.
        convert: converts the value; may raise `Unfit`.
        unless: a value that is ignored without a message, because cbalign behaves the same.
        remark: shown to the user: what changed, or why the setting was dropped.
    """

    key: str
    path: str | None = None
    convert: Callable[[Data], Data] | None = None
    unless: Data | tuple[()] = ()
    remark: str = ""


@dataclass(frozen=True)
class Line:
    """The outcome of one setting: `path` and `value` in the spec, `place`, `key` and `given` in the configuration."""

    path: str | None
    value: Data
    place: Place | None
    key: str | None
    given: Data
    remark: str

    def __str__(self) -> str:
        where = f"{self.place.source.name}:{self.place.line}  " if self.place else ""
        source = f"{self.key} {_short(self.given)}" if self.key and self.place else self.key or ""
        target = f"{self.path}: {_short(self.value)}" if self.path else ""
        remark = f" ({self.remark})" if target and self.remark else f": {self.remark}" if self.remark else ""
        return f"{where}{' → '.join(filter(None, (source, target)))}{remark}"

    def to_json(self) -> dict[str, Data]:
        """Return the outcome as plain data."""
        return {
            "file": self.place.source.name if self.place else None,
            "line": self.place.line if self.place else None,
            "key": self.key,
            "given": self.given,
            "path": self.path,
            "value": self.value,
            "remark": self.remark or None,
        }


@dataclass
class Migration:
    """A spec under construction, and the outcome of each setting.

    `carried` are values of the configuration, `assumed` are defaults of the tool's code, and `dropped` are settings
    without a counterpart in cbalign.
    """

    tool: str
    tree: MapNode
    carried: list[Line] = field(default_factory=list)
    assumed: list[Line] = field(default_factory=list)
    dropped: list[Line] = field(default_factory=list)
    _spec: dict[str, Data] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)

    def node(self, key: str) -> Node | None:
        """Return the node of the configuration at a dotted path, if it exists."""
        node: Node | None = self.tree
        for step in key.split("."):
            node = child(node, step) if node is not None else None
        return node

    def value(self, key: str) -> Data:
        """Return the value at a dotted path as plain data; None if it is not set."""
        node = self.node(key)
        return None if node is None else plain_data(node)

    def apply(self, rules: Iterable[Rule]) -> None:
        """Convert the settings that the rules name."""
        for rule in rules:
            node = self.node(rule.key)
            if node is None or rule.key in self._done:
                continue
            given = plain_data(node)
            if given == rule.unless:
                self._done.add(rule.key)
            elif rule.path is None:
                self.drop(rule.key, rule.remark)
            else:
                try:
                    self.carry(rule.key, rule.path, rule.convert(given) if rule.convert else given, rule.remark)
                except Unfit as error:
                    self.drop(rule.key, str(error))

    def carry(self, key: str, path: str, value: Data, remark: str = "") -> None:
        """Set a path of the spec from a setting of the configuration."""
        node = self.node(key)
        assert node is not None, "only an existing setting can be carried over"
        self._done.add(key)
        self.put(path, value)
        self.carried.append(Line(path, value, node.place, key, plain_data(node), remark))

    def drop(self, key: str, reason: str) -> None:
        """Record that a setting of the configuration has no counterpart."""
        node = self.node(key)
        self._done.add(key)
        self.dropped.append(Line(None, None, node.place if node else None, key, self.value(key), reason))

    def assume(self, path: str, value: Data, remark: str) -> None:
        """Set a path of the spec to what the tool's code does, unless the path is set already."""
        if self.written(path) is None:
            self.put(path, value)
            self.assumed.append(Line(path, value, None, None, None, remark))

    def rename(self, name: str) -> None:
        """Set the name of the experiment to one that the user chose."""
        self.put("name", name)
        self.carried = [line for line in self.carried if line.path != "name"]
        self.assumed = [line for line in self.assumed if line.path != "name"]

    def lack(self, what: str, reason: str) -> None:
        """Record a behaviour of the tool that no setting names and that cbalign does not have."""
        self.dropped.append(Line(None, None, None, what, None, reason))

    def settle(self, *keys: str) -> None:
        """Mark settings as handled without a message."""
        self._done.update(keys)

    def drop_the_rest(self, reason: str) -> None:
        """Drop every setting that was not handled, except those that are empty or off."""
        for key, value in _leaves(self.tree):
            settled = any(key == done or key.startswith(f"{done}.") for done in self._done)
            if not settled and value not in (None, False, "", [], {}):
                self.drop(key, reason)

    def data(self) -> dict[str, Data]:
        """Return the spec with its settings in the order of the spec language."""
        return _in_order({"cbalign": FORMAT, **self._spec}, ROOT)

    def text(self) -> str:
        """Return the spec as YAML, with the origin of each line as a comment."""
        remarks = {line.path: f"{self.tool}'s code: {line.remark}" for line in self.assumed if line.path}
        for line in self.carried:
            if line.path and line.place:
                remarks[line.path] = f"{line.place.source.name}:{line.place.line} {line.key}"
        return write_yaml(self.data(), remarks)

    def written(self, path: str) -> Data:
        """Return the value of the spec at a path through sections; None if it is not set yet."""
        data: Data = self._spec
        for step in path.split("."):
            data = data.get(step) if isinstance(data, dict) else None
        return data

    def put(self, path: str, value: Data) -> None:
        """Set a path of the spec without recording it; list items are addressed by position."""
        *above, name = path.split(".")
        section: Data = self._spec
        for step in above:
            section = section[int(step)] if isinstance(section, list) else _sections(section).setdefault(step, {})
        _sections(section)[name] = value


def _sections(data: Data) -> dict[str, Data]:
    assert isinstance(data, dict), "a path leads through sections"
    return data


def _leaves(node: MapNode, prefix: str = "") -> Iterator[tuple[str, Data]]:
    for name, entry in node.entries.items():
        if isinstance(entry.value, MapNode) and entry.value.entries:
            yield from _leaves(entry.value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", plain_data(entry.value)


def _in_order(data: Mapping[str, Data], choice: Choice) -> dict[str, Data]:
    """Sort the keys of each section in the order in which the spec language declares them."""
    key = choice.discriminator
    section = choice.section(str(data.get(key)) if key and key in data else None)
    known = settings(section) if section else {}
    names = [name for name in known if name in data] + [name for name in data if name not in known]
    ordered: dict[str, Data] = {}
    for name in names:
        value, shape = data[name], known[name].shape if name in known else None
        ordered[name] = _in_order(value, shape) if isinstance(value, dict) and isinstance(shape, Choice) else value
    return ordered


def _short(value: Data) -> str:
    text = (
        str(value)
        if isinstance(value, int | float | str) and not isinstance(value, bool)
        else json.dumps(value, ensure_ascii=False)
    )
    return text if len(text) <= 60 else f"{text[:59]}…"
