"""Convert a spec of an older format to the current one; comments and layout are preserved.

Format 0 has no `cbalign:` line: it predates the numbering of formats.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cbalign.errors import SpecError, UsageError
from cbalign.experiment.diagnostics import Diagnostic, InvalidSpec
from cbalign.experiment.document import Data, MapNode, SourceText, plain_data
from cbalign.experiment.experiment import FORMAT


@dataclass(frozen=True)
class Move:
    """A setting whose path, and possibly whose value, differs in the next format."""

    old: str
    new: str
    convert: Callable[[Any], Data] | None = None


def _epochs(count: Any) -> Data:
    return f"{count} epochs" if isinstance(count, int | float) and not isinstance(count, bool) else count


# The settings that moved between each format and the next.
MOVES: dict[int, tuple[Move, ...]] = {
    0: (
        Move("train.epochs", "train.duration", _epochs),
        Move("train.lr", "train.optimizer.lr"),
        Move("train.weight_decay", "train.optimizer.weight_decay"),
        Move("train.warmup", "train.schedule.warmup"),
        Move("train.grad_clip", "train.clip_norm"),
        Move("model.momentum", "model.teacher.momentum"),
        Move("model.queue_length", "model.queue.length"),
        Move("model.codebook_size", "model.codebook.size"),
    ),
}


@dataclass(frozen=True)
class Rewritten:
    """The text in the current format, and one line for each setting that moved."""

    text: str
    moved: tuple[str, ...]


def rewrite(source: SourceText, tree: MapNode) -> Rewritten:
    """Convert a spec to the current format; a current spec is returned unchanged.

    Raises:
        ModuleNotFoundError: ruamel.yaml is not installed; the command line turns it into `MissingExtraError`.
        SpecError: the format is unknown.
    """
    version = _version(tree)
    if version == FORMAT:
        return Rewritten(source.text, ())
    from ruamel.yaml import YAML

    editor = YAML(typ="rt")
    editor.preserve_quotes = True
    editor.width = 1 << 16
    document = editor.load(source.text)
    moved: list[str] = []
    for step in range(version, FORMAT):
        for move in MOVES[step]:
            line = _move(document, move, source.name)
            moved += [line] if line else []
    if "cbalign" in document:
        document["cbalign"] = FORMAT
    else:
        _insert_first(document, "cbalign", FORMAT)
    moved.append(f"cbalign: {FORMAT}")
    out = io.StringIO()
    editor.dump(document, out)
    return Rewritten(out.getvalue(), tuple(moved))


def _version(tree: MapNode) -> int:
    node = tree.get("cbalign")
    version = plain_data(node) if node is not None else 0
    if not isinstance(version, int) or isinstance(version, bool) or version < 0 or node is None:
        if node is None:
            return 0
        raise InvalidSpec([Diagnostic("`cbalign` must be the number of a format", node.place, "cbalign")])
    if version > FORMAT:
        message = f"the spec has format {version}; this version of cbalign reads formats up to {FORMAT}"
        raise InvalidSpec([Diagnostic(message, node.place, "cbalign", hint="install a newer cbalign")])
    return version


def _move(document: Any, move: Move, name: str) -> str | None:
    """Move one setting with its comment; return a line about it, or None if the spec does not set it.

    Raises:
        UsageError: both the old and the new setting are set.
    """
    *above, old = move.old.split(".")
    section: Any = _at(document, above)
    if section is None or old not in section:
        return None
    line = section.lc.data[old][0] + 1
    *below, new = move.new.split(".")
    target: Any = _at(document, below)
    if target is not None and new in target:
        raise UsageError(f"{name}:{line}: both {move.old} and {move.new} are set.", remedy="Remove one of the two.")
    position = list(section).index(old)
    comment = section.ca.items.pop(old, None)
    value = section.pop(old)
    value = move.convert(value) if move.convert else value
    if target is not None and target is section:
        target.insert(position, new, value)
    else:
        target = _made(document, below, position)
        target[new] = value
    if comment is not None:
        target.ca.items[new] = comment
    return f"{name}:{line}  {move.old} → {move.new}: {value}"


def _at(document: Any, steps: list[str]) -> Any:
    """Return the section at a path, or None."""
    node = document
    for step in steps:
        node = node.get(step) if hasattr(node, "get") else None
    return node if hasattr(node, "get") else None


def _made(document: Any, steps: list[str], position: int) -> Any:
    """Return the section at a path; create it at the position of the moved setting if it is missing."""
    from ruamel.yaml.comments import CommentedMap

    node = document
    for step in steps:
        if not hasattr(node.get(step), "get"):
            if node.get(step) is not None:
                raise SpecError(f"{step} is not a section: no setting can be moved into it")
            node.insert(min(position, len(node)), step, CommentedMap())
        node = node[step]
    return node


def _insert_first(document: Any, key: str, value: Data) -> None:
    """Insert a setting before all others, but after the comments at the top of the file."""
    head = document.ca.comment
    document.ca.comment = None
    document.insert(0, key, value)
    document.ca.comment = head
