"""Translate pydantic's errors into diagnostics with source places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic_core import ErrorDetails

from cbalign.experiment import part_hints
from cbalign.experiment.diagnostics import Diagnostic
from cbalign.experiment.document import ListNode, MapNode, Place, ScalarNode
from cbalign.experiment.error_targets import ErrorTarget, error_target, is_written, node_at, place_of, setting_at
from cbalign.experiment.fields import settings
from cbalign.experiment.part_hints import Steps
from cbalign.experiment.phrases import described, listed
from cbalign.experiment.shapes import Choice, Items, Leaf
from cbalign.experiment.suggestions import closest, did_you_mean, meant_setting
from cbalign.experiment.value_hints import value_hint
from cbalign.parts.registry import PartKind
from cbalign.parts.section import RuleError

MAX_MISTAKES = 100  # more are counted, not explained: each one is compared with every setting


def explain_mistakes(errors: Iterable[ErrorDetails], tree: MapNode, root: Choice) -> list[Diagnostic]:
    """Return one diagnostic for each mistake behind pydantic's errors.

    Args:
        errors: the errors of `Experiment.model_validate_json` on `tree`.
        tree: the composed and normalised spec.
        root: the shape of a whole spec.
    """
    found = [(error_target(error["loc"], root), error) for error in errors]
    deepest: dict[Steps, int] = {}
    for target, _ in found:
        for count in range(len(target.steps) + 1):
            prefix = target.steps[:count]
            deepest[prefix] = max(deepest.get(prefix, 0), len(target.steps))
    told: set[Steps] = set()
    diagnostics: list[Diagnostic] = []
    for number, (target, error) in enumerate(found):
        if len(diagnostics) == MAX_MISTAKES:
            diagnostics.append(Diagnostic(f"and up to {len(found) - number:,} more mistakes, which are not explained"))
            break
        # A union reports every alternative: report the one that got furthest.
        shallow = target.leaf is not None and deepest[target.steps] > len(target.steps)
        if shallow or (target.steps in told and target.leaf is not None):
            continue
        told.add(target.steps)
        diagnostics.append(_Explanation(target, error, tree, root).diagnostic())
    return diagnostics


@dataclass(frozen=True)
class _Explanation:
    target: ErrorTarget
    error: ErrorDetails
    tree: MapNode
    root: Choice

    def diagnostic(self) -> Diagnostic:
        kind = self.error["type"]
        if kind == "extra_forbidden":
            return self._unknown()
        if kind == "missing":
            return self._missing()
        if kind == "value_error":
            return self._rule()
        if kind in ("union_tag_invalid", "union_tag_not_found"):
            return self._kind()
        if self.target.leaf is not None:
            return self._value(self.target.leaf)
        if self.target.choice is not None or kind in ("model_type", "dict_type", "tuple_type", "too_short", "too_long"):
            return self._structure()
        return self._say(self.error["msg"])

    def _say(
        self, message: str, *, place: Place | None = None, hint: str | None = None, kind: PartKind | None = None
    ) -> Diagnostic:
        help = self.target.setting.help if self.target.setting else None
        where = place or place_of(self.tree, self.target.steps)
        return Diagnostic(message, where, self.target.path, hint, help, unknown_part=kind is not None)

    def _unknown(self) -> Diagnostic:
        *above, name = self.target.steps
        path = ".".join(map(str, above))
        hint = None
        whole = self.root.section()
        if self.target.owner is not None and whole is not None:
            hint = meant_setting(whole, self.target.owner, _without_positions(above), str(name))
        kind = part_hints.kind_of_keys(self.target.owner)
        hint = part_hints.part_hint(kind, str(name), hint)
        kind = kind or part_hints.kind_of_other_part(self.target.owner, node_at(self.tree, above))
        where = f"`{path}` has" if path else "a spec has"
        place = place_of(self.tree, self.target.steps, key=True)
        return self._say(f"{where} no setting `{name}`", place=place, hint=hint, kind=kind)

    def _missing(self) -> Diagnostic:
        *above, name = self.target.steps
        owner = ".".join(map(str, above))
        leaf = self.target.leaf
        if isinstance(name, int):
            whole = self.target.setting.shape if self.target.setting else None
            count = whole.length if isinstance(whole, Leaf) else None
            return self._say(f"`{owner}` has too few items: expected {count}", place=place_of(self.tree, tuple(above)))
        hint = None
        if leaf is not None and leaf.choices:
            hint = f"add `{name}: {leaf.choices[0]}`" + (f", or {listed(leaf.choices[1:])}" if leaf.choices[1:] else "")
        elif self.target.path in _STARTERS:
            hint = f"add `{_STARTERS[self.target.path]}`"
        place = place_of(self.tree, tuple(above), key=True)
        return self._say(f"`{owner}` lacks `{name}`" if owner else f"`{name}` is missing", place=place, hint=hint)

    def _rule(self) -> Diagnostic:
        cause = (self.error.get("ctx") or {}).get("error")
        message = str(cause) if cause is not None else self.error["msg"]
        candidates: list[Steps] = []
        if isinstance(cause, RuleError):
            candidates = [(*self.target.steps, *at.split(".")) for at in cause.at]
        written = [steps for steps in candidates if is_written(self.tree, steps)]
        steps = (written or [self.target.steps])[0]
        path = ".".join(map(str, steps or (candidates or [()])[0]))
        meant = setting_at(self.tree, self.root, tuple(path.split(".")))
        return Diagnostic(message, place_of(self.tree, steps), path, help=meant.help if meant else None)

    def _kind(self) -> Diagnostic:
        choice = self.target.choice
        key = choice.discriminator if choice else None
        names = list(choice.variants) if choice else []
        if key is None:
            return self._structure()
        steps = (*self.target.steps, key)
        node = node_at(self.tree, steps)
        if node is None:
            place = place_of(self.tree, self.target.steps, key=True)
            if misspelt := self._misspelt(key):
                place = place_of(self.tree, (*self.target.steps, misspelt), key=True)
                message = f"`{self.target.path}` has no setting `{misspelt}`"
                return self._say(message, place=place, hint=f"did you mean `{key}`?")
            return self._say(f"`{self.target.path}` lacks `{key}`: choose {listed(names)}", place=place)
        given = described(node)
        word = str(node.value) if isinstance(node, ScalarNode) else ""
        kind = part_hints.kind_of_choice(choice)
        hint = part_hints.part_hint(kind, word, did_you_mean(word, names))
        message = f"`{'.'.join(map(str, steps))}` must be {listed(names)}, not {given}"
        return self._say(message, place=place_of(self.tree, steps), hint=hint, kind=kind)

    def _misspelt(self, key: str) -> str | None:
        """Return the key of the section that seems to mean `key`, which is the setting of no variant."""
        node, choice = node_at(self.tree, self.target.steps), self.target.choice
        if not isinstance(node, MapNode) or choice is None:
            return None
        known = {name for section in choice.variants.values() for name in settings(section)}
        return closest(key, [name for name in node.entries if name not in known])

    def _structure(self) -> Diagnostic:
        node = node_at(self.tree, self.target.steps)
        shape = self.target.setting.shape if self.target.setting else None
        is_item = bool(self.target.steps) and isinstance(self.target.steps[-1], int)
        wants = "a list of sections" if isinstance(shape, Items) and not is_item else "a section"
        if self.error["type"] == "too_short":
            return self._say(f"`{self.target.path}` must not be an empty list")
        if isinstance(node, ScalarNode) and node.value is None:
            message = f"`{self.target.path}` must be {wants}, but is empty"
            return self._say(message, hint="remove the line to use the defaults")
        hint = None
        if wants.startswith("a list") and isinstance(node, MapNode):
            hint = "put `- ` before each item"
        elif wants.startswith("a list") and isinstance(node, ScalarNode) and isinstance(node.value, str):
            hint = f"write `[{node.value}]`"
        return self._say(f"`{self.target.path}` must be {wants}, not {described(node)}", hint=hint)

    def _value(self, leaf: Leaf) -> Diagnostic:
        node = node_at(self.tree, self.target.steps)
        path = self.target.path
        kind = self.error["type"]
        if kind == "too_short" and leaf.item is not None and isinstance(node, ListNode):
            return self._say(f"`{path}` must not be an empty list", hint=f"allowed items: {leaf.item.wording()}")
        if kind == "too_long" and leaf.item is not None:
            return self._say(f"`{path}` has too many items: expected {leaf.length}")
        if kind in ("string_too_long", "string_too_short"):
            context = self.error.get("ctx") or {}
            limit = context.get("max_length", context.get("min_length"))
            bound = "at most " if "max_length" in context and limit != 1 else ""
            return self._say(
                f"`{path}` must be {bound}{limit} character{'s' * (limit != 1)} long, not {described(node)}"
            )
        message = f"`{path}` must be {leaf.wording()}, not {described(node)}"
        hint, named = value_hint(leaf, node), None
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            named = part_hints.kind_of_key(self.target.owner, self.target.steps) or part_hints.kind_of_choices(leaf)
            hint = part_hints.part_hint(named, node.value, hint)
        return self._say(message, hint=hint, kind=named)


_STARTERS = {
    "cbalign": "cbalign: 1",
    "name": "name: my-experiment",
    "data": "data: {train: {source: openmoji, split: train}}",
    "data.train": "train: {source: openmoji, split: train}",
}


def _without_positions(steps: Iterable[str | int]) -> str:
    return ".".join(str(step) for step in steps if not isinstance(step, int))
