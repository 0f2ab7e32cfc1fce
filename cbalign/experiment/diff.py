"""What tells experiments apart: typed, resolved values side by side, each with its effect and its origins.

Works on any number of experiments; `patch` and the verdicts are for two. Comments, the order of keys, how a number is
spelt and which file a value stands in make no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeGuard

from cbalign.experiment.document import Data
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import Items, Setting, settings
from cbalign.experiment.load import LoadedExperiment, Origin
from cbalign.parts.duration import amount_and_unit
from cbalign.parts.section import Effect, Section


@dataclass(frozen=True)
class Cell:
    """What one experiment says: plain data, and where it was set or was read."""

    value: Data
    origin: Origin | str


@dataclass(frozen=True)
class Difference:
    """One setting that is not the same everywhere.

    `path` names list items by what they are (`evaluate[retrieval test].top_k`); a cell is `None` where an
    experiment has no such setting.
    """

    path: str
    effect: Effect
    cells: tuple[Cell | None, ...]
    help: str = ""

    @property
    def delta(self) -> float | None:
        """Second minus first, of numbers and of durations in one unit."""
        numbers = self._numbers
        return numbers[1] - numbers[0] if numbers else None

    @property
    def ratio(self) -> float | None:
        """Second over first, where the first is not 0."""
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
    """A number with its unit."""
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
    """Experiments side by side, and what differs, worst first.

    `same` has the settings that are the same everywhere, where they were asked for.
    """

    experiments: tuple[Experiment, ...]
    differences: tuple[Difference, ...]
    same: tuple[Difference, ...] = ()

    @cached_property
    def by_effect(self) -> Mapping[Effect, tuple[Difference, ...]]:
        """The differences of each class that has any, worst class first."""
        classes = {effect: tuple(d for d in self.differences if d.effect is effect) for effect in Effect}
        return {effect: found for effect, found in classes.items() if found}

    @property
    def worst(self) -> Effect | None:
        """The worst class of all differences; `None` when there are none."""
        return next(iter(self.by_effect), None)

    def keep(self, wanted: Callable[[Difference], bool]) -> Comparison:
        """The same comparison with fewer settings."""
        return replace(
            self,
            differences=tuple(d for d in self.differences if wanted(d)),
            same=tuple(d for d in self.same if wanted(d)),
        )

    def extended(self, others: Iterable[Difference]) -> Comparison:
        """The same comparison with differences that are not of the specs, each in its class."""
        return replace(self, differences=_worst_first((*self.differences, *others)))


def _worst_first(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    return tuple(sorted(differences, key=lambda difference: difference.effect.severity))


def compare(loaded: Sequence[LoadedExperiment], *, keep_same: bool = False) -> Comparison:
    """Compare two or more experiments.

    Args:
        loaded: the experiments.
        keep_same: whether to list settings that are the same everywhere, too.

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
    """One walk down the sections of all experiments at once; what is the same goes to `same`, if it is there."""

    origins: Sequence[Mapping[str, Origin]]
    same: list[Difference] | None

    def sections(
        self, sections: Sequence[Section | None], path: str, paths: Sequence[str], effect: Effect | None
    ) -> list[Difference]:
        """Differences below sections that stand at one place.

        Args:
            sections: one for each experiment; `None` where it has none.
            path: what the place is called, with a final dot.
            paths: the same for each experiment, with list positions, as its origins are keyed.
            effect: what the place's role makes of every setting in it.
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
        if all(value == values[0] for value in values):
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
        """Lists of sections, whose items belong together by what they are, not by where they stand."""
        named = [_by_name(items) for items in lists]
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
            cells = tuple(Cell(list(order), self.origin(i, paths[i])) for i, order in enumerate(orders))
            found.append(Difference(f"{path} (order)", Effect.LABEL, cells, "The order of the list."))
        return found

    def cell(self, index: int, value: object, path: str) -> Cell | None:
        return None if value is _ABSENT else Cell(plain(value), self.origin(index, path))

    def origin(self, index: int, path: str) -> Origin:
        """Where a path was set; of a section, where its first setting was."""
        origins = self.origins[index]
        below = (origin for other, origin in origins.items() if other.startswith(f"{path}."))
        return origins.get(path) or next((o for o in below if o.place), Origin())


_ABSENT = object()


def _all_sections(values: Sequence[object]) -> TypeGuard[Sequence[Section]]:
    return all(isinstance(value, Section) for value in values)


def _by_name(items: Sequence[Section]) -> dict[str, int]:
    """Position of each item by what it is, numbered where two are the same."""
    named: dict[str, int] = {}
    for index, item in enumerate(items):
        words = [str(getattr(item, field)) for field in item.identity] or [str(index)]
        name, count = " ".join(words), 1
        while (unique := name if count == 1 else f"{name} #{count}") in named:
            count += 1
        named[unique] = index
    return named


def plain(value: object) -> Data:
    """A typed value as plain data."""
    if isinstance(value, Section):
        data: dict[str, Data] = value.model_dump(mode="json")
        return data
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    assert value is None or isinstance(value, str | int | float | bool), f"{type(value)} is no value of a spec"
    return value


def patch(before: Experiment, after: Experiment) -> dict[str, Data]:
    """The overlay that makes `after` of `before`: only what differs; sections of another kind and lists whole."""
    return _overlay(before, after)


def patch_document(before: Experiment, after: Experiment, extends: str | None = None) -> dict[str, Data]:
    """A patch as a spec file: the overlay, and under `expects` what it replaces, so that it can be refused later.

    Args:
        before: what the patch is for.
        after: what it makes of it.
        extends: the file of `before`, where the patch is to be a whole spec.
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
