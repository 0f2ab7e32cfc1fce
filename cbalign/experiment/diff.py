"""Compare experiments by their typed, resolved values, each with its effect and origins.

Works on any number of experiments; `patch` and the verdicts take two. Comments, the order of keys, the notation of
numbers and the file that sets a value are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeGuard

from cbalign.experiment.document import Data
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import Setting, settings
from cbalign.experiment.load import LoadedExperiment, Origin
from cbalign.experiment.shapes import Items
from cbalign.parts.duration import amount_and_unit
from cbalign.parts.section import Effect, Section


@dataclass(frozen=True)
class SettingValue:
    """The value of a setting in one experiment as plain data, with its origin."""

    value: Data
    origin: Origin | str


@dataclass(frozen=True)
class Difference:
    """A setting whose value differs between experiments.

    `path` names list items by identity (`evaluate[retrieval test].top_k`); a cell is `None` if an experiment lacks
    the setting.
    """

    path: str
    effect: Effect
    cells: tuple[SettingValue | None, ...]
    help: str = ""

    @property
    def delta(self) -> float | None:
        """Second minus first, for numbers and for durations in the same unit."""
        numbers = self._numbers
        return numbers[1] - numbers[0] if numbers else None

    @property
    def ratio(self) -> float | None:
        """Second divided by first; None if the first is 0."""
        numbers = self._numbers
        return numbers[1] / numbers[0] if numbers and numbers[0] else None

    @property
    def _numbers(self) -> tuple[float, float] | None:
        if len(self.cells) != 2 or None in self.cells:
            return None
        first, second = (_quantity(cell.value) for cell in self.cells if cell)
        if first is None or second is None or first[1] != second[1]:
            return None
        return first[0], second[0]


def _quantity(value: Data) -> tuple[float, str] | None:
    """Return a number with its unit."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value, ""
    try:
        return amount_and_unit(value) if isinstance(value, str) else None
    except ValueError:
        return None


@dataclass(frozen=True)
class Comparison:
    """The differences between experiments, worst first.

    `same` lists the settings that are equal everywhere, if requested.
    """

    experiments: tuple[Experiment, ...]
    differences: tuple[Difference, ...]
    same: tuple[Difference, ...] = ()

    @cached_property
    def by_effect(self) -> Mapping[Effect, tuple[Difference, ...]]:
        """The differences by effect class, worst class first; empty classes are left out."""
        classes = {effect: tuple(d for d in self.differences if d.effect is effect) for effect in Effect}
        return {effect: found for effect, found in classes.items() if found}

    @property
    def worst(self) -> Effect | None:
        """The worst effect class of all differences; `None` if there are none."""
        return next(iter(self.by_effect), None)

    def keep(self, wanted: Callable[[Difference], bool]) -> Comparison:
        """Return the comparison with only the wanted settings."""
        return replace(
            self,
            differences=tuple(d for d in self.differences if wanted(d)),
            same=tuple(d for d in self.same if wanted(d)),
        )

    def extended(self, others: Iterable[Difference]) -> Comparison:
        """Return the comparison with further differences, outside the specs, each in its class."""
        return replace(self, differences=_worst_first((*self.differences, *others)))


def _worst_first(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    return tuple(sorted(differences, key=lambda difference: difference.effect.severity))


def compare_experiments(loaded: Sequence[LoadedExperiment], *, keep_same: bool = False) -> Comparison:
    """Compare two or more experiments.

    Args:
        loaded: the experiments.
        keep_same: whether to list settings that are equal everywhere, too.

    Raises:
        ValueError: fewer than two.
    """
    if len(loaded) < 2:
        raise ValueError("a comparison takes at least two experiments")
    experiments = tuple(each.experiment for each in loaded)
    walk = _Walk([each.origins for each in loaded], [] if keep_same else None)
    found = walk.sections(experiments, "", [""] * len(loaded), None)
    return Comparison(experiments, _worst_first(found), _worst_first(walk.same or ()))


@dataclass(frozen=True)
class _Walk:
    """A parallel traversal of the sections of all experiments; equal settings are added to `same`, if given."""

    origins: Sequence[Mapping[str, Origin]]
    same: list[Difference] | None

    def sections(
        self, sections: Sequence[Section | None], path: str, paths: Sequence[str], effect: Effect | None
    ) -> list[Difference]:
        """Yield the differences below sections at the same path.

        Args:
            sections: one per experiment; `None` if it has none.
            path: the display path, with a final dot.
            paths: the path in each experiment, with list positions, as used by its origins.
            effect: the effect that the parent declares for every setting below it.
        """
        fields: dict[str, Setting] = {}
        for section in sections:
            fields |= settings(type(section)) if section else {}
        found = []
        for name, setting in fields.items():
            values = [getattr(section, name, _ABSENT) for section in sections]
            below = [f"{prefix}{name}" for prefix in paths]
            found += self.values(values, setting, f"{path}{name}", below, effect)
        return found

    def values(
        self, values: Sequence[object], setting: Setting, path: str, paths: Sequence[str], effect: Effect | None
    ) -> list[Difference]:
        own = effect or setting.effect or Effect.TRAINING
        if setting.absent:
            parts = [value if isinstance(value, Section) else None for value in values]
            return self.sections(parts, f"{path}.", [f"{p}." for p in paths], effect or setting.effect)
        if _all_sections(values):
            return self.sections(values, f"{path}.", [f"{p}." for p in paths], effect or setting.effect)
        if isinstance(setting.shape, Items) and all(isinstance(value, tuple) for value in values):
            return self.items(values, setting, path, paths, own)  # type: ignore[arg-type]
        if all(setting.same(value, values[0]) for value in values):
            if self.same is not None:
                self.same.append(self.difference(values, setting, path, paths, own))
            return []
        if setting.switch and any(value == 0 or value is _ABSENT for value in values):
            own = min(own, setting.switch, key=lambda e: e.severity)
        return [self.difference(values, setting, path, paths, own)]

    def difference(
        self, values: Sequence[object], setting: Setting, path: str, paths: Sequence[str], effect: Effect
    ) -> Difference:
        cells = tuple(self.cell(i, value, paths[i]) for i, value in enumerate(values))
        return Difference(path, effect, cells, setting.help)

    def items(
        self,
        lists: Sequence[tuple[Section, ...]],
        setting: Setting,
        path: str,
        paths: Sequence[str],
        effect: Effect,
    ) -> list[Difference]:
        """Compare lists of sections; items are matched by identity, not by position."""
        named = [by_name(items) for items in lists]
        found = []
        for name in dict.fromkeys(name for items in named for name in items):
            indices = [items.get(name) for items in named]
            here = [None if i is None else items[i] for i, items in zip(indices, lists)]
            below = [f"{p}.{i}" for i, p in zip(indices, paths)]
            if all(item is not None for item in here):
                found += self.sections(here, f"{path}[{name}].", [f"{p}." for p in below], None)
            else:
                cells = tuple(self.cell(i, _ABSENT if item is None else item, below[i]) for i, item in enumerate(here))
                found.append(Difference(f"{path}[{name}]", effect, cells, setting.help))
        orders = [[name for name in items if all(name in others for others in named)] for items in named]
        if any(order != orders[0] for order in orders):
            cells = tuple(SettingValue(list(order), self.origin(i, paths[i])) for i, order in enumerate(orders))
            found.append(Difference(f"{path} (order)", Effect.LABEL, cells, "The order of the list."))
        return found

    def cell(self, index: int, value: object, path: str) -> SettingValue | None:
        return None if value is _ABSENT else SettingValue(plain(value), self.origin(index, path))

    def origin(self, index: int, path: str) -> Origin:
        """Return the origin of a path; for a section, that of its first setting."""
        origins = self.origins[index]
        below = (origin for other, origin in origins.items() if other.startswith(f"{path}."))
        return origins.get(path) or next((o for o in below if o.place), Origin())


_ABSENT = object()


def _all_sections(values: Sequence[object]) -> TypeGuard[Sequence[Section]]:
    return all(isinstance(value, Section) for value in values)


def by_name(items: Sequence[Section]) -> dict[str, int]:
    """Return the position of each item by its identity; duplicates are numbered."""
    named: dict[str, int] = {}
    for index, item in enumerate(items):
        values = [value for field in item.identity if (value := getattr(item, field)) is not None]
        name, count = " ".join(map(str, values)) or str(index), 1
        while (unique := name if count == 1 else f"{name} #{count}") in named:
            count += 1
        named[unique] = index
    return named


def plain(value: object) -> Data:
    """Convert a typed value to plain data."""
    if isinstance(value, Section):
        data: dict[str, Data] = value.model_dump(mode="json")
        return data
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    assert value is None or isinstance(value, str | int | float | bool), f"{type(value)} is not a spec value"
    return value


def patch(before: Experiment, after: Experiment) -> dict[str, Data]:
    """Return the overlay that turns `before` into `after`; sections of another kind and lists are included whole."""
    return _overlay(before, after)


def patch_document(before: Experiment, after: Experiment, extends: str | None = None) -> dict[str, Data]:
    """Return a patch as a spec file: the overlay and, in `expects`, the values it replaces, which are checked later.

    Args:
        before: the experiment that the patch applies to.
        after: the result of applying it.
        extends: the file of `before`, if the patch is to be a complete spec.
    """
    changed = patch(before, after)
    labels = {name for name, setting in settings(Experiment).items() if setting.effect is Effect.LABEL}
    expected = {name: value for name, value in patch(after, before).items() if name not in labels}
    head: dict[str, Data] = {"extends": extends} if extends else {}
    return {**head, **({"expects": expected} if expected else {}), **changed}


def _overlay(before: Section, after: Section) -> dict[str, Data]:
    overlay: dict[str, Data] = {}
    for name in settings(type(after)):
        old, new = getattr(before, name), getattr(after, name)
        if old == new and type(old) is type(new):
            continue
        if isinstance(old, Section) and type(old) is type(new):
            overlay[name] = _overlay(old, new)
        else:
            overlay[name] = plain(new)
    return overlay
