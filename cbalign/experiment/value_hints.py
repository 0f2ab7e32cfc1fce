"""Hints for values in a spec that a setting does not take."""

from __future__ import annotations

from cbalign.experiment.document import Node, ScalarNode
from cbalign.experiment.phrases import is_number
from cbalign.experiment.shapes import Leaf
from cbalign.experiment.suggestions import did_you_mean


def value_hint(leaf: Leaf, node: Node | None) -> str | None:
    """Return how to write a value so that a setting takes it; None if it is not known.

    Args:
        leaf: the values that the setting takes.
        node: the value in the spec; None if there is none.
    """
    if not isinstance(node, ScalarNode):
        return "remove the line to use the default" if node is None else None
    value = node.value
    if leaf.item is not None and not isinstance(value, bool | None):
        near = did_you_mean(str(value), [str(choice) for choice in leaf.choices])
        single = leaf.item.choices
        return near or (f"write `[{value}]`" if not single or value in single else None)
    if isinstance(value, str):
        return _text_hint(leaf, value, node.plain)
    if value is None:
        return "remove the line to use the default" if leaf.kinds != ("text",) else "write '' for an empty text"
    if leaf.takes_only_text and leaf.kinds and not leaf.pattern:
        return "quote it"
    if leaf.examples and leaf.examples[0].endswith("steps") and isinstance(value, int):
        return f"write `{value} steps` or `{value} epochs`"
    if "whole number" in leaf.kinds and isinstance(value, float) and value.is_integer():
        return f"write `{int(value)}`"
    return None


def _text_hint(leaf: Leaf, value: str, plain: bool) -> str | None:
    bare = value.strip()
    if "true or false" in leaf.kinds and bare.lower() in ("yes", "on", "no", "off", "y", "n", "true", "false"):
        return f"write `{'true' if bare.lower() in ('yes', 'on', 'y', 'true') else 'false'}`"
    if {"number", "whole number"} & set(leaf.kinds):
        if is_number(bare) and not plain:
            return f"write `{bare}` without quotes"
        if is_number(bare.replace("_", "").replace(",", "")):
            return f"write `{bare.replace('_', '').replace(',', '')}`"
    # `trained` is not `pretrained` with a typing error.
    return did_you_mean(value, [str(choice) for choice in leaf.choices if not str(choice).endswith(bare)])
