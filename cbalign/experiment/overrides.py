"""Command-line overrides of untyped specs: `--set a.b=value`, `--set +list=item`, `--set ~a.b`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cbalign.experiment.compose import merge
from cbalign.experiment.diagnostics import Diagnostic, InvalidSpec
from cbalign.experiment.document import Data, ListNode, MapEntry, MapNode, Node, Place, ScalarNode, SourceText
from cbalign.experiment.fields import Setting, find_settings, settings
from cbalign.experiment.reader import MAX_DEPTH, read_node
from cbalign.experiment.shapes import Choice, Items, Leaf, Shape
from cbalign.experiment.shorthand import expand_shorthand
from cbalign.experiment.suggestions import meant_setting
from cbalign.experiment.variants import variant_changes, written_by_options

_FORM = re.compile(r"(?P<sign>[+~]?)(?P<path>[^=]*?)(?P<equals>=)?(?(equals)(?P<value>.*))\Z", re.DOTALL)
PREFIX = "--set "
_MAX_POSITION = 9  # digits


@dataclass(frozen=True)
class Override:
    """An override. `steps` are the names of the path, each with its place in the option."""

    operation: Literal["set", "append", "reset"]
    steps: tuple[tuple[str, Place], ...]
    value: Node | None

    @property
    def path(self) -> str:
        """The dotted path."""
        return ".".join(name for name, _ in self.steps)


def parse_override(text: str, root: Choice) -> Override:
    """Parse one `--set` option. The value is YAML, or taken literally if the setting is text.

    Raises:
        InvalidSpec: not of the form `path=value`, `+path=value` or `~path`, or the value is not YAML.
    """
    source = SourceText("--set", PREFIX + text, kind="option")
    whole = Place(source, 1, len(PREFIX) + 1, max(1, len(text)))
    match = _FORM.match(text)
    assert match is not None, "the pattern matches every text"
    sign, path = match["sign"], match["path"].strip()
    if not path or any(not step for step in path.split(".")):
        raise InvalidSpec([Diagnostic("the path is empty or has an empty part", whole, hint=_FORMS)])
    if (sign == "~") == bool(match["equals"]):
        what = "`~path` takes no value" if sign == "~" else "`=` is missing"
        raise InvalidSpec([Diagnostic(what, whole, hint=_FORMS)])
    if path.count(".") >= MAX_DEPTH:
        raise InvalidSpec([Diagnostic(f"the path has more than {MAX_DEPTH} parts", whole)])
    if any(name.isdecimal() and len(name) > _MAX_POSITION for name in path.split(".")):
        raise InvalidSpec([Diagnostic("the path has a position that no list has", whole)])
    steps = []
    column = len(PREFIX) + 1 + match.start("path") + len(match["path"]) - len(match["path"].lstrip())
    for name in path.split("."):
        steps.append((name, Place(source, 1, column, len(name))))
        column += len(name) + 1
    if sign == "~":
        return Override("reset", tuple(steps), None)
    leaf = _leaf(root, path)
    if sign == "+" and leaf is not None:
        leaf = leaf.item
    value = _value(source, len(PREFIX) + 1 + match.start("value"), leaf)
    return Override("append" if sign == "+" else "set", tuple(steps), value)


_FORMS = "write --set path=value, --set +list=item or --set ~path"


def _leaf(root: Choice, path: str) -> Leaf | None:
    """Return the shape of the setting at a path, if it is a leaf and equal in all variants."""
    section = root.section()
    shapes = [found.setting.shape for found in find_settings(section, path)] if section else []
    if not shapes or not all(isinstance(shape, Leaf) for shape in shapes):
        return None
    leaf = shapes[0]
    if isinstance(leaf, Leaf) and leaf.item is not None and path.rsplit(".", 1)[-1].isdecimal():
        leaf = leaf.item
    return leaf if isinstance(leaf, Leaf) else None


def _value(source: SourceText, column: int, leaf: Leaf | None) -> Node:
    raw = source.text[column - 1 :]
    place = Place(source, 1, min(column, len(source.text)), max(1, len(raw)))
    wants_text = leaf is not None and leaf.takes_only_text
    try:
        node = read_node(source, first_column=column)
    except InvalidSpec:
        if wants_text:
            return ScalarNode(raw, place)
        raise
    if node is None:
        node = ScalarNode(None, place)
    is_text = isinstance(node, ScalarNode) and isinstance(node.value, str)
    is_null = isinstance(node, ScalarNode) and node.value is None
    if wants_text and not is_text and not (is_null and leaf is not None and leaf.optional):
        return ScalarNode(raw.strip(), place)
    return node


def apply_override(tree: MapNode, override: Override, root: Choice) -> MapNode:
    """Apply one override to a tree.

    Raises:
        InvalidSpec: the list position does not exist, the target of `+` is not a list, or the path to reset is unknown.
    """
    section = root.section()
    if override.operation != "set" and section is not None:
        _refuse_unknown(override, root)
    changed = _Change(override).at(tree, root, 0)
    assert isinstance(changed, MapNode), "a change below the root keeps it a mapping"
    return changed


def _refuse_unknown(override: Override, root: Choice) -> None:
    section = root.section()
    assert section is not None
    names = [step for step in override.steps if not step[0].isdecimal()]
    for count in range(1, len(names) + 1):
        path = ".".join(name for name, _ in names[:count])
        if find_settings(section, path):
            continue
        name, place = names[count - 1]
        above = ".".join(name for name, _ in names[: count - 1])
        parent = find_settings(section, above)
        shape = parent[0].setting.shape if parent else root
        inner = shape.section() if isinstance(shape, Choice) else None
        hint = meant_setting(section, inner, above, name) if inner else None
        raise InvalidSpec([Diagnostic(f"unknown setting `{path}`", place, path, hint=hint)])


@dataclass(frozen=True)
class _Change:
    override: Override

    def at(self, node: Node | None, shape: Shape | None, depth: int, setting: Setting | None = None) -> Node | None:
        """Return the changed node at `depth` steps of the path; `None` removes it."""
        steps, value = self.override.steps, self.override.value
        if value is not None and depth == len(steps):
            value = expand_shorthand(value, shape)
        if depth == len(steps):
            match self.override.operation:
                case "set" if isinstance(value, MapNode) and isinstance(node, MapNode):
                    return merge(node, value, shape if isinstance(shape, Choice) else None)
                case "set":
                    return value
                case "reset":
                    return None
                case _:
                    return self._appended(node, setting)
        name, place = steps[depth]
        if node is None and setting is not None and isinstance(setting.default, list):
            node = _node_of(setting.default, place)
        if isinstance(node, ListNode):
            return self._in_list(node, shape, depth)
        if name.isdecimal() and isinstance(node or shape, MapNode | Choice) and self.override.operation != "set":
            path = ".".join(step for step, _ in steps[:depth])
            raise InvalidSpec([Diagnostic(f"`{path}` is a section, not a list", place, self.override.path)])
        mapping = node if isinstance(node, MapNode) else MapNode({}, place)
        section = None
        if isinstance(shape, Choice):
            named = mapping.get(shape.discriminator or "")
            section = shape.section(str(named.value) if isinstance(named, ScalarNode) else None)
        inner = settings(section).get(name) if section else None
        if inner is None and isinstance(shape, Choice):
            inner = next((settings(s)[name] for s in shape.variants.values() if name in settings(s)), None)
        new = self.at(mapping.get(name), inner.shape if inner else None, depth + 1, inner)
        if new is None:
            return mapping.without(name)
        entry = MapEntry(place, new)
        if isinstance(shape, Choice) and variant_changes(mapping, MapNode({name: entry}, place), shape):
            mapping = written_by_options(mapping)
        return mapping.with_entry(name, entry)

    def _in_list(self, node: ListNode, shape: Shape | None, depth: int) -> Node:
        name, place = self.override.steps[depth]
        if not name.isdecimal():
            raise InvalidSpec(
                [Diagnostic("a list item is addressed by its position; 0 is the first", place, self.override.path)]
            )
        index = int(name)
        if index >= len(node.items):
            count = f"{len(node.items)} item{'s' * (len(node.items) != 1)}"
            path = ".".join(step for step, _ in self.override.steps[:depth])
            hint = f"add one with --set '+{path}=…'"
            message = f"`{path}` has {count}; position {index} does not exist"
            raise InvalidSpec([Diagnostic(message, place, self.override.path, hint=hint)])
        inner = shape.item if isinstance(shape, Items) else None
        new = self.at(node.items[index], inner, depth + 1)
        kept = () if new is None else (new,)
        return ListNode((*node.items[:index], *kept, *node.items[index + 1 :]), node.place)

    def _appended(self, node: Node | None, setting: Setting | None) -> Node:
        _, place = self.override.steps[-1]
        assert self.override.value is not None, "the form +path=value has a value"
        shape = setting.shape.item if setting is not None and isinstance(setting.shape, Items) else None
        value = expand_shorthand(self.override.value, shape)
        if node is None and setting is not None and isinstance(setting.default, list):
            node = _node_of(setting.default, place)
        if node is None and setting is not None and isinstance(setting.shape, Leaf) and setting.shape.item:
            node = ListNode((), place)
        if not isinstance(node, ListNode):
            message = f"`{self.override.path}` is not a list that `+` can append to"
            raise InvalidSpec([Diagnostic(message, place, self.override.path, hint="set it without `+`")])
        return ListNode((*node.items, value), place)


def _node_of(data: Data, place: Place) -> Node:
    """Convert plain data to nodes with the same place."""
    if isinstance(data, list):
        return ListNode(tuple(_node_of(item, place) for item in data), place)
    if isinstance(data, dict):
        return MapNode({name: MapEntry(place, _node_of(value, place)) for name, value in data.items()}, place)
    return ScalarNode(data, place, plain=False)
