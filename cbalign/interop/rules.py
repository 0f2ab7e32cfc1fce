"""How a configuration becomes a spec: a table of rules, and an account of what each of its settings came to."""

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
    """A value that means nothing to cbalign; the text says why."""


@dataclass(frozen=True)
class Rule:
    """What becomes of one setting.

    Args:
        key: its dotted path in the configuration.
        path: where it goes; None where it goes nowhere.
        convert: its value there; raises `Unfit`.
        unless: the value that needs no mention, because cbalign does the same or has no such thing.
        remark: what a reader should know: what changed, or why it goes nowhere.
    """

    key: str
    path: str | None = None
    convert: Callable[[Data], Data] | None = None
    unless: Data | tuple[()] = ()
    remark: str = ""


@dataclass(frozen=True)
class Line:
    """What became of a setting. `path` and `value` are those of the spec; `place` and `key` those it came from."""

    path: str | None
    value: Data
    place: Place | None
    key: str | None
    given: Data
    remark: str

    def __str__(self) -> str:
        where = f"{self.place.source.name}:{self.place.line}  " if self.place else ""
        told = f"{self.key} {_short(self.given)}" if self.key and self.place else self.key or ""
        target = f"{self.path}: {_short(self.value)}" if self.path else ""
        remark = f" ({self.remark})" if target and self.remark else f": {self.remark}" if self.remark else ""
        return f"{where}{' → '.join(filter(None, (told, target)))}{remark}"

    def to_json(self) -> dict[str, Data]:
        """The same as plain data."""
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
    """A spec in the making.

    `carried` came from the configuration, `assumed` from the code that reads it, `dropped` went nowhere.
    """

    tool: str
    tree: MapNode
    carried: list[Line] = field(default_factory=list)
    assumed: list[Line] = field(default_factory=list)
    dropped: list[Line] = field(default_factory=list)
    _spec: dict[str, Data] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)

    def node(self, key: str) -> Node | None:
        """What the configuration says at a dotted path."""
        node: Node | None = self.tree
        for step in key.split("."):
            node = child(node, step) if node is not None else None
        return node

    def value(self, key: str) -> Data:
        """The same as plain data; None where it says nothing."""
        node = self.node(key)
        return None if node is None else plain_data(node)

    def apply(self, rules: Iterable[Rule]) -> None:
        """Carry over what the rules know."""
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
        """A setting of the configuration goes to a path of the spec."""
        node = self.node(key)
        assert node is not None, "only what is there can be carried over"
        self._done.add(key)
        self.put(path, value)
        self.carried.append(Line(path, value, node.place, key, plain_data(node), remark))

    def drop(self, key: str, reason: str) -> None:
        """A setting of the configuration goes nowhere."""
        node = self.node(key)
        self._done.add(key)
        self.dropped.append(Line(None, None, node.place if node else None, key, self.value(key), reason))

    def assume(self, path: str, value: Data, remark: str) -> None:
        """What the tool's code does, and cbalign would not without being told; a value carried over stays."""
        if self.written(path) is None:
            self.put(path, value)
            self.assumed.append(Line(path, value, None, None, None, remark))

    def rename(self, name: str) -> None:
        """Give the experiment a name that the user chose."""
        self.put("name", name)
        self.carried = [line for line in self.carried if line.path != "name"]
        self.assumed = [line for line in self.assumed if line.path != "name"]

    def lack(self, what: str, reason: str) -> None:
        """Something that the tool does and no setting names goes nowhere."""
        self.dropped.append(Line(None, None, None, what, None, reason))

    def settle(self, *keys: str) -> None:
        """Nothing more is to be said of these settings."""
        self._done.update(keys)

    def drop_the_rest(self, reason: str) -> None:
        """Every setting that no rule knows, but those that are off."""
        for key, value in _leaves(self.tree):
            settled = any(key == done or key.startswith(f"{done}.") for done in self._done)
            if not settled and value not in (None, False, "", [], {}):
                self.drop(key, reason)

    def data(self) -> dict[str, Data]:
        """The spec, in the order of the language."""
        return _in_order({"cbalign": FORMAT, **self._spec}, ROOT)

    def text(self) -> str:
        """The spec as YAML; each line says what it came from."""
        remarks = {line.path: f"{self.tool}'s code: {line.remark}" for line in self.assumed if line.path}
        for line in self.carried:
            if line.path and line.place:
                remarks[line.path] = f"{line.place.source.name}:{line.place.line} {line.key}"
        return write_yaml(self.data(), remarks)

    def written(self, path: str) -> Data:
        """What the spec says so far at a path through sections; None where it says nothing."""
        data: Data = self._spec
        for step in path.split("."):
            data = data.get(step) if isinstance(data, dict) else None
        return data

    def put(self, path: str, value: Data) -> None:
        """Set a path of the spec that needs no explanation; items of lists go by their position."""
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
    """The data with the keys of each section in the order in which the language declares them."""
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
