"""Format values and lists for messages about specs."""

from __future__ import annotations

from collections.abc import Iterable

from cbalign.experiment.document import ListNode, MapNode, Node


def listed(names: Iterable[object]) -> str:
    """Join names: `a, b or c`."""
    *most, last = [str(name) for name in names]
    return f"{', '.join(most)} or {last}" if most else last


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def described(node: Node | None) -> str:
    """Describe a node: `a list`, `the text 'x'`, `5`."""
    if node is None:
        return "nothing"
    if isinstance(node, ListNode):
        return "a list" if node.items else "an empty list"
    if isinstance(node, MapNode):
        return "a section"
    value = node.value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        shown = value if len(value) <= 40 else f"{value[:39]}…"
        return f"the text {shown!r}"
    return str(value) if len(str(value)) <= 40 else f"{str(value)[:39]}…"
