"""Environment variables in specs: `${env:NAME}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from cbalign.experiment.diagnostics import Diagnostic
from cbalign.experiment.document import ListNode, MapEntry, MapNode, Node, Place, ScalarNode
from cbalign.experiment.scalars import plain_value

_REFERENCE = re.compile(r"\$\$\{|\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}|\$\{[^}]*\}?")


def interpolate(node: Node, environment: Mapping[str, str], mistakes: list[Diagnostic]) -> Node:
    """Replace every `${env:NAME}` in a tree; append a diagnostic to `mistakes` for each that cannot be replaced.

    A plain scalar that consists of one reference is typed by the replaced text, as in YAML.
    """
    match node:
        case ScalarNode(value=str(text)) if "${" in text:
            replaced, found = interpolate_text(text, node.place, environment)
            mistakes.extend(found)
            whole = _REFERENCE.fullmatch(text)
            typed = node.plain and whole is not None and whole[1] is not None
            if not typed:
                return replace(node, value=replaced)
            value, wrong = plain_value(replaced)
            if wrong is not None and whole is not None:
                shown = wrong.replace(f"`{replaced}`", "its value")
                mistakes.append(Diagnostic(f"the environment variable {whole[1]}: {shown}", node.place))
            return replace(node, value=value)
        case ListNode():
            return replace(node, items=tuple(interpolate(item, environment, mistakes) for item in node.items))
        case MapNode():
            entries = {
                name: MapEntry(entry.key, interpolate(entry.value, environment, mistakes))
                for name, entry in node.entries.items()
            }
            return replace(node, entries=entries)
        case _:
            return node


def interpolate_text(text: str, place: Place, environment: Mapping[str, str]) -> tuple[str, list[Diagnostic]]:
    """Replace references in `text`; return it with the mistakes found.

    `$${` escapes `${`; a variable that is not set leaves `$NAME`.
    """
    mistakes: list[Diagnostic] = []

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if match[0] == "$${":
            return "${"
        if name is None:
            hint = "only ${env:NAME} is replaced; write $${ for a plain ${"
            mistakes.append(Diagnostic(f"`{match[0]}` is not a reference to an environment variable", place, hint=hint))
        elif name not in environment:
            hint = f"set it: {name}=… cbalign …"
            message = f"the environment variable {name} is not set"
            mistakes.append(Diagnostic(message, place, hint=hint, unset_variable=name))
        return match[0] if name is None else environment.get(name, f"${name}")

    return _REFERENCE.sub(value, text), mistakes


def escape(text: str) -> str:
    """Escape `text` so that nothing in it is replaced."""
    return text.replace("${", "$${")
