"""Check that a patch still applies: the values it replaces must not have changed since it was made."""

from __future__ import annotations

from collections.abc import Callable

from cbalign.experiment.compose import Expectation, merge
from cbalign.experiment.diagnostics import Diagnostic
from cbalign.experiment.document import MapNode, Node, Place, child
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import leaves
from cbalign.experiment.shapes import Choice

_HINT = "make the patch again, or remove this from its `expects` to apply it anyway"


def unmet(
    expectation: Expectation,
    root: Choice,
    resolve: Callable[[MapNode], Experiment],
    origin: Callable[[MapNode, str], object],
) -> list[Diagnostic]:
    """Return the unmet expectations of a patch; empty if the patch applies.

    Both sides are resolved first, so that explicit defaults and other notations are equal.

    Args:
        expectation: the expected settings and the tree to check.
        root: the shape of a whole spec.
        resolve: converts a tree to an experiment.
        origin: returns where a dotted path was set in a tree.

    Raises:
        InvalidSpec: the base of the patch is not a valid spec, or the expected settings are invalid.
    """
    there = {path: value for path, value, _ in leaves(resolve(expectation.below))}
    wanted = {path: value for path, value, _ in leaves(resolve(merge(expectation.below, expectation.expects, root)))}
    changed = [path for path in wanted if path not in there or there[path] != wanted[path]]
    # If the kind of a section changed, report only that: the missing settings of the old kind follow from it.
    return [
        Diagnostic(
            f"the patch no longer applies: `{path}` was {_shown(wanted[path])} when it was made and now is "
            f"{_shown(there[path])} ({origin(expectation.below, path)})",
            _place(expectation.expects, path),
            path,
            hint=_HINT,
        )
        for path in changed
        if path in there
    ] or [
        Diagnostic(f"the patch no longer applies: `{path}` does not exist", _place(expectation.expects, path), path)
        for path in changed
    ]


def _shown(value: object) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _place(expects: MapNode, path: str) -> Place:
    """Return the place of an expected path in the patch, or of its nearest parent."""
    node: Node = expects
    for step in path.split("."):
        inner = child(node, step)
        if inner is None:
            break
        node = inner
    return node.place
