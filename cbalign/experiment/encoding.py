"""Texts of the system that are not UTF-8: names of files, arguments and environment variables.

Python stores the bytes that it cannot decode as unpaired surrogates, which neither JSON nor pydantic accepts.
"""

from __future__ import annotations

from collections.abc import Iterator

from cbalign.experiment.diagnostics import Diagnostic
from cbalign.experiment.document import MapNode, Place, ScalarNode, walk

UNDECODABLE_HINT = "rename it in UTF-8; if its name is UTF-8, run with PYTHONUTF8=1"


def is_undecodable(text: str) -> bool:
    """Whether a text of the system has bytes that are not UTF-8."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def printable(text: str) -> str:
    """Return a text with its undecodable bytes written as escapes, such as `caf\\xe9`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def undecodable_texts(tree: MapNode, known: list[Place]) -> Iterator[Diagnostic]:
    """Yield a diagnostic for each text of a tree that is not UTF-8.

    Args:
        tree: a spec.
        known: the places of those that have a diagnostic already.
    """
    for path, node in walk(tree):
        text = node.value if isinstance(node, ScalarNode) and node.place not in known else None
        if isinstance(text, str) and is_undecodable(text):
            where = ".".join(map(str, path))
            yield Diagnostic(f"`{where}` is not UTF-8: {printable(text)}", node.place, where)
