"""Compose a spec from the bases named by `extends`, the file itself and a profile.

Mappings merge; lists and scalars replace. A section whose kind changes (`solver: sinkhorn` over `solver: ipot`)
replaces the old one, because the settings of one kind do not apply to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cbalign.experiment.bases import Conflict, join_bases
from cbalign.experiment.diagnostics import Diagnostic, InvalidSpec
from cbalign.experiment.document import ListNode, MapEntry, MapNode, Place, ScalarNode
from cbalign.experiment.environment import interpolate_text
from cbalign.experiment.fields import settings
from cbalign.experiment.files import DISK, Files
from cbalign.experiment.recipes import list_recipes
from cbalign.experiment.shapes import Choice
from cbalign.experiment.spec_file import EXPECTS, EXTENDS, PROFILES, read_spec
from cbalign.experiment.suggestions import did_you_mean
from cbalign.experiment.variants import variant_changes, variant_of, written_by_options

MAX_EXTENDS = 16


@dataclass(frozen=True)
class Expectation:
    """The settings that a patch expects in `below`, the tree it changes."""

    expects: MapNode
    below: MapNode


@dataclass(frozen=True)
class Composition:
    """A spec file merged with everything it extends.

    `tree` has no composition keys; `files` lists all files read, bases first.
    """

    tree: MapNode
    profiles: MapNode
    files: tuple[Path, ...] = ()
    expectations: tuple[Expectation, ...] = ()


def compose(path: Path, root: Choice, environment: Mapping[str, str], files: Files = DISK) -> Composition:
    """Read a spec file and everything it extends.

    Args:
        path: the file; `-` is standard input.
        root: the shape of a whole spec.
        environment: values of `${env:NAME}` inside `extends`.
        files: the file system to read from.

    Raises:
        InvalidSpec: a file is missing or not YAML, or bases extend each other in a cycle or conflict.
    """
    return _Composer(root, environment, files).file(path, ())


def with_patch(composition: Composition, path: Path, root: Choice) -> Composition:
    """Apply a patch: a spec file whose `extends` is ignored, because `composition` takes its place.

    Raises:
        InvalidSpec: the file is missing or not a patch.
    """
    node = read_spec(path, DISK, root)
    body = node.without(EXTENDS, EXPECTS, PROFILES)
    return Composition(
        merge(composition.tree, body, root),
        composition.profiles,
        (*composition.files, path.resolve()),
        (*composition.expectations, *_expectations(node, composition.tree)),
    )


def _expectations(node: MapNode, below: MapNode) -> tuple[Expectation, ...]:
    """Return the expectations that a file's `expects` states about the tree `below` it."""
    value = node.get(EXPECTS)
    if value is None:
        return ()
    place = node.entries[EXPECTS].key
    if not isinstance(value, MapNode):
        raise InvalidSpec([Diagnostic("`expects` must be a section with the previous settings", place)])
    if not below.entries:
        hint = "set `extends` to the spec that the patch changes, or apply it: cbalign show SPEC --patch FILE"
        raise InvalidSpec([Diagnostic("`expects` in a file that extends nothing", place, hint=hint)])
    return (Expectation(value, below),)


def with_profile(composition: Composition, name: str, root: Choice) -> MapNode:
    """Apply a named overlay of the spec.

    Raises:
        InvalidSpec: no profile has that name.
    """
    profile = composition.profiles.get(name)
    if not isinstance(profile, MapNode):
        names = list(composition.profiles.entries)
        has = f"it has {', '.join(names)}" if names else "it has none"
        raise InvalidSpec([Diagnostic(f"the spec has no profile `{name}`: {has}", hint=did_you_mean(name, names))])
    return merge(composition.tree, profile, root)


def merge(base: MapNode, overlay: MapNode, choice: Choice | None) -> MapNode:
    """Merge `overlay` into `base`; values of `overlay` win.

    Args:
        choice: the shape of both, if known.
    """
    if choice is not None and variant_changes(base, overlay, choice):
        base = written_by_options(base) if overlay.place.source.kind == "option" else MapNode({}, base.place)
    entries = dict(base.entries)
    section = choice.section(variant_of(overlay, choice) or variant_of(base, choice)) if choice else None
    for name, entry in overlay.entries.items():
        old = base.get(name)
        if isinstance(old, MapNode) and isinstance(entry.value, MapNode):
            shape = settings(section)[name].shape if section and name in settings(section) else None
            inner = shape if isinstance(shape, Choice) else None
            entries[name] = MapEntry(entry.key, merge(old, entry.value, inner))
        else:
            entries[name] = entry
    return MapNode(entries, overlay.place)


@dataclass
class _Composer:
    root: Choice
    environment: Mapping[str, str]
    files: Files
    _done: dict[Path, Composition] = field(default_factory=dict)
    _given: dict[Path, Composition] = field(default_factory=dict)  # by path as written, so that no file is read twice

    def file(self, path: Path, inside: tuple[Path, ...]) -> Composition:
        """Compose a file with everything it extends; shared bases are composed once."""
        if path in self._given:
            return self._given[path]
        node = read_spec(path, self.files, self.root)
        source = node.place.source
        here = source.path.resolve() if source.path else Path("-")
        if here not in self._done:
            self._done[here] = self._composed(node, here, inside)
        self._given[path] = self._done[here]
        return self._done[here]

    def _composed(self, node: MapNode, here: Path, inside: tuple[Path, ...]) -> Composition:
        source = node.place.source
        start = Place(source, 1, 1, 0)
        bases = [
            self._base(reference, place, source.folder, (*inside, here)) for reference, place in self._extends(node)
        ]
        profiles = self._profiles(node)
        body = node.without(EXTENDS, EXPECTS, PROFILES)
        conflicts: list[Conflict] = []
        tree, base_profiles = MapNode({}, start), MapNode({}, start)
        read: tuple[Path, ...] = ()
        expectations: tuple[Expectation, ...] = ()
        for base in {id(base): base for base in bases}.values():  # a base that is named again changes nothing
            tree = join_bases(tree, base.tree, (read, base.files), conflicts, self.root)
            base_profiles = merge(base_profiles, base.profiles, None)
            read = tuple(dict.fromkeys((*read, *base.files)))
            expectations += base.expectations
        open_conflicts = [conflict for conflict in conflicts if not conflict.is_settled_by(body)]
        if open_conflicts:
            at = node.entries[EXTENDS].key if EXTENDS in node.entries else None
            raise InvalidSpec([conflict.diagnostic(at) for conflict in open_conflicts])
        expectations += _expectations(node, tree)
        merged = merge(tree, body, self.root), merge(base_profiles, profiles, None)
        return Composition(*merged, (*read, here), expectations)

    def _extends(self, node: MapNode) -> list[tuple[str, Place]]:
        value = node.get(EXTENDS)
        if value is None:
            return []
        items = value.items if isinstance(value, ListNode) else (value,)
        names = []
        for item in items:
            if not isinstance(item, ScalarNode) or not isinstance(item.value, str):
                raise InvalidSpec([Diagnostic("`extends` must be a file or a list of files", item.place)])
            text, mistakes = interpolate_text(item.value, item.place, self.environment)
            if mistakes:
                raise InvalidSpec(mistakes)
            names.append((text, item.place))
        return names

    def _base(self, reference: str, place: Place, folder: Path, inside: tuple[Path, ...]) -> Composition:
        path = self.files.locate(reference, folder)
        if path is None:
            known = [recipe.name for recipe in list_recipes()]
            message = f"no file `{reference}` next to {place.source.name}, and no recipe of that name"
            raise InvalidSpec(
                [
                    Diagnostic(
                        message, place, "extends", hint=did_you_mean(reference, self.files.specs_below(folder) + known)
                    )
                ]
            )
        if path.resolve() in inside:
            circle = " → ".join(self.files.name(each) for each in (*inside[inside.index(path.resolve()) :], path))
            raise InvalidSpec([Diagnostic(f"`extends` forms a cycle: {circle}", place, "extends")])
        if len(inside) > MAX_EXTENDS:
            raise InvalidSpec([Diagnostic(f"more than {MAX_EXTENDS} files extend each other", place, "extends")])
        return self.file(path, inside)

    def _profiles(self, node: MapNode) -> MapNode:
        value = node.get(PROFILES)
        if value is None:
            return MapNode({}, node.place)
        if not isinstance(value, MapNode):
            raise InvalidSpec(
                [Diagnostic("`profiles` must be a section of named overlays", node.entries[PROFILES].key)]
            )
        wrong = [(name, entry) for name, entry in value.entries.items() if not isinstance(entry.value, MapNode)]
        if wrong:
            raise InvalidSpec(
                [Diagnostic(f"profile `{name}` has no settings", entry.key, PROFILES) for name, entry in wrong]
            )
        return value
