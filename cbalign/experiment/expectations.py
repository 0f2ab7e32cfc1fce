"""Whether a patch still applies: what it replaces has to be what it was when the patch was made."""

from __future__ import annotations

from collections.abc import Callable

from cbalign.experiment.compose import Expectation, merge
from cbalign.experiment.diagnostics import Diagnostic
from cbalign.experiment.document import MapNode, Node, Place, child
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import Choice, leaves

_HINT = "make the patch anew, or remove this from its `expects` to apply it all the same"


def unmet(
    expectation: Expectation,
    root: Choice,
    resolve: Callable[[MapNode], Experiment],
    origin: Callable[[MapNode, str], object],
) -> list[Diagnostic]:
    """What is not as the patch expects; nothing when the patch applies.

    Both sides are resolved, so that a default that is now written out, or another spelling, makes no difference.

    Args:
        expectation: the settings expected, and the tree that should have them.
        root: the shape of a whole spec.
        resolve: makes an experiment of a tree.
        origin: tells where a dotted path was set in a tree.

    Raises:
        InvalidSpec: what the patch is for is no valid spec, or never could be what it expects.
    """
    there = {path: value for path, value, _ in leaves(resolve(expectation.below))}
    wanted = {path: value for path, value, _ in leaves(resolve(merge(expectation.below, expectation.expects, root)))}
    changed = [path for path in wanted if path not in there or there[path] != wanted[path]]
    # Where a section is of another kind now, that says it all: what only one kind has follows from it.
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
        Diagnostic(f"the patch no longer applies: there is no `{path}`", _place(expectation.expects, path), path)
        for path in changed
    ]


def _shown(value: object) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _place(expects: MapNode, path: str) -> Place:
    """Where the patch says what it expects of a path, or of what is around it."""
    node: Node = expects
    for step in path.split("."):
        inner = child(node, step)
        if inner is None:
            break
        node = inner
    return node.place
