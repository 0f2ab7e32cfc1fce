"""The registry of parts: those of cbalign itself and of installed distributions.

cbalign's own parts are in the modules of the `sections` packages and in the `section` modules of subpackages. Others
are found by entry points (`cbalign.objectives`, `cbalign.sources`, …), named like the part. Unusable parts are skipped
with a warning.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import PurePath

from packaging.requirements import InvalidRequirement, Requirement

from cbalign import __version__
from cbalign.parts import exports, kinds, towers
from cbalign.parts.origin import OWN, PartOrigin, record_origin
from cbalign.parts.part import Part

_RESERVED = ("active", "named")  # attributes of the `objectives` section
_NAME = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True)
class PartKind:
    """A kind of part.

    Args:
        name: the entry-point group after `cbalign.`, also used in messages.
        base: the base class of its sections.
        package: the package of cbalign's own parts.
        noun: the name of one part in messages; `plural` is its plural.
        key: the discriminating setting; empty if the name of a part is a key or an item.
        required: settings that every part of the kind must have.
        more_packages: further packages with parts of cbalign's own.
    """

    name: str
    base: type[Part]
    package: str
    noun: str
    key: str = ""
    required: tuple[str, ...] = ()
    more_packages: tuple[str, ...] = ()

    @property
    def plural(self) -> str:
        """The plural of `noun`, for messages."""
        return f"{self.noun}s"


OBJECTIVES = PartKind("objectives", kinds.ObjectiveSection, "cbalign.objectives", "objective")
SOURCES = PartKind("sources", kinds.SourceSection, "cbalign.data", "source", "source")
TASKS = PartKind("tasks", kinds.TaskSection, "cbalign.tasks", "task", "kind")
EVALUATIONS = PartKind(
    "evaluations", kinds.EvaluationSection, "cbalign.evaluation", "evaluation", "kind", ("on",), ("cbalign.tasks",)
)
VISION_TOWERS = PartKind("towers", towers.VisionTowerSection, "cbalign.models", "image tower", "kind", ("image_size",))
TEXT_TOWERS = PartKind(
    "towers", towers.TextTowerSection, "cbalign.models", "text tower", "kind", ("max_tokens", "max_words")
)
SOLVERS = PartKind("solvers", kinds.SolverSection, "cbalign.models", "solver", "solver")
SCHEDULES = PartKind("schedules", kinds.ScheduleSection, "cbalign.engine", "schedule", "kind", ("warmup",))
PRECISIONS = PartKind("precisions", exports.PrecisionSection, "cbalign.exporting", "precision")
TARGETS = PartKind("targets", exports.TargetSection, "cbalign.exporting", "export target", "kind")
TRACKERS = PartKind("trackers", kinds.TrackerSection, "cbalign.engine", "tracker", "kind")

KINDS = (
    OBJECTIVES,
    SOURCES,
    TASKS,
    EVALUATIONS,
    VISION_TOWERS,
    TEXT_TOWERS,
    SOLVERS,
    SCHEDULES,
    PRECISIONS,
    TARGETS,
    TRACKERS,
)


@dataclass(frozen=True)
class InstalledPart:
    """A usable part."""

    kind: PartKind
    name: str
    section: type[Part]
    origin: PartOrigin
    imports_torch: bool = False  # found while this section was imported, which every command does

    @property
    def about(self) -> str:
        """The first line of the section's docstring."""
        return (self.section.__doc__ or "").strip().partition("\n")[0]


@dataclass(frozen=True)
class BrokenPart:
    """An unusable part of an installed distribution, with the reason."""

    group: str
    name: str
    origin: PartOrigin
    reason: str

    def __str__(self) -> str:
        return f"{self.origin}: its part `{self.name}` in cbalign.{self.group} is unusable: {self.reason}"


@dataclass(frozen=True)
class Registry:
    """All parts, those of cbalign first."""

    parts: tuple[InstalledPart, ...]
    broken: tuple[BrokenPart, ...]

    def of(self, kind: PartKind) -> dict[str, InstalledPart]:
        """Return the parts of a kind by name."""
        return {part.name: part for part in self.parts if part.kind == kind}


@cache
def registry() -> Registry:
    """Find all parts; cached per process."""
    own = tuple(
        InstalledPart(kind, s.part_name(), s, PartOrigin(OWN, __version__)) for kind in KINDS for s in _own(kind)
    )
    parts: list[InstalledPart] = list(own)
    broken: list[BrokenPart] = []
    found = [_load(*each) for each in _entry_points()]
    for part in found:
        if isinstance(part, BrokenPart):
            broken.append(part)
            continue
        group = part.kind.name
        rivals = [o.origin for o in found if o is not part and o.name == part.name and _group(o) == group]
        rivals += [other.origin for other in own if other.kind == part.kind and other.name == part.name]
        if rivals:
            reason = f"{' and '.join(map(str, rivals))} has a part of the same name; uninstall one of them"
            broken.append(BrokenPart(group, part.name, part.origin, reason))
        else:
            parts.append(part)
    for part in parts:
        record_origin(part.section, part.origin)
    return Registry(tuple(parts), tuple(broken))


def sections(kind: PartKind) -> tuple[type[Part], ...]:
    """Return the sections of a kind, cbalign's first, in a fixed order."""
    return tuple(part.section for part in registry().of(kind).values())


def broken_part(kind: PartKind, name: str) -> BrokenPart | None:
    """Return the unusable part of this name, if one is installed."""
    return next((part for part in registry().broken if part.group == kind.name and part.name == name), None)


def _group(part: InstalledPart | BrokenPart) -> str:
    return part.group if isinstance(part, BrokenPart) else part.kind.name


def _own(kind: PartKind) -> Iterator[type[Part]]:
    """Yield cbalign's own parts of a kind, from modules of `sections` and from `section` of each subpackage."""
    declared = [
        section
        for package in (kind.package, *kind.more_packages)
        for name in _section_modules(package)
        for section in vars(import_module(name)).values()
        if inspect.isclass(section) and issubclass(section, kind.base) and section.__module__ == name
    ]
    yield from (section for section in declared if "builds" in vars(section))


@cache
def _section_modules(package: str) -> tuple[str, ...]:
    names = []
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        if not module.ispkg:
            continue
        if module.name.endswith(".sections"):
            inside = pkgutil.iter_modules(import_module(module.name).__path__, f"{module.name}.")
            names += [each.name for each in inside]
        elif find_spec(f"{module.name}.section") is not None:
            names.append(f"{module.name}.section")
    return tuple(sorted(names))


def _entry_points() -> Iterator[tuple[metadata.EntryPoint, tuple[PartKind, ...]]]:
    by_group: dict[str, tuple[PartKind, ...]] = {}
    for kind in KINDS:
        by_group[f"{OWN}.{kind.name}"] = (*by_group.get(f"{OWN}.{kind.name}", ()), kind)
    installed = metadata.entry_points()
    for group, of_group in by_group.items():
        for point in sorted(installed.select(group=group), key=lambda point: (point.name, point.value)):
            yield point, of_group


def _load(point: metadata.EntryPoint, of_group: tuple[PartKind, ...]) -> InstalledPart | BrokenPart:
    group = of_group[0].name
    origin = PartOrigin(point.dist.name, point.dist.version) if point.dist else PartOrigin("unknown distribution", "")

    def broken(reason: str) -> BrokenPart:
        return BrokenPart(group, point.name, origin, reason)

    if (wanted := _other_version(point.dist)) is not None:
        return broken(f"it requires {wanted}, but this is cbalign {__version__}; install a compatible version of it")
    light = "torch" not in sys.modules
    try:
        section = point.load()
    except Exception as error:  # a module of somebody else can raise anything
        return broken(f"{point.value} cannot be imported: {type(error).__name__}: {error}{_line(point, error)}")
    kind = next((k for k in of_group if inspect.isclass(section) and issubclass(section, k.base)), None)
    if kind is None:
        bases = " or ".join(each.base.__name__ for each in of_group)
        return broken(f"{point.value} is not a class derived from {bases}")
    if (flaw := _flaw(point.name, point.value, kind, section)) is not None:
        return broken(flaw)
    return InstalledPart(kind, point.name, section, origin, imports_torch=light and "torch" in sys.modules)


def _line(point: metadata.EntryPoint, error: Exception) -> str:
    """Return the line of a package in which its import failed, as ` (sections.py, line 12)`; empty if unknown."""
    package = point.value.partition(":")[0].partition(".")[0]
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0] == package
    ]
    return f" ({PurePath(frames[-1][0]).name}, line {frames[-1][1]})" if frames else ""


def _flaw(name: str, value: str, kind: PartKind, section: type[Part]) -> str | None:
    """Return the problem of a section that an entry point names; None if there is none."""
    try:
        own_name = section.part_name()
    except (TypeError, AttributeError, StopIteration) as error:
        return f"{value} has no name: {error}"
    if own_name != name:
        return f"{value} is named `{own_name}`, but its entry point `{name}`; they must be equal"
    reserved = kind == OBJECTIVES and (name in _RESERVED or hasattr(kinds.ObjectiveSection, name))
    if not _NAME.fullmatch(name) or reserved or (kind == OBJECTIVES and not name.isidentifier()):
        return f"`{name}` is not a valid name of a part: use lower-case letters, digits and _, and no reserved name"
    if not isinstance(getattr(section, "builds", None), str) or ":" not in section.builds:
        return f"{value} does not define what it builds: set `builds` to 'module:attribute'"
    if missing := [each for each in (kind.key, *kind.required) if each and each not in section.model_fields]:
        return f"{value} lacks the setting{'s' * (len(missing) > 1)} {', '.join(missing)} that every {kind.noun} has"
    if issubclass(section, kinds.TaskSection) and not _are_names(section.graphs):
        return f"{value}: `graphs` is not a tuple of names: use lower-case letters, digits and _"
    return None


def _are_names(values: object) -> bool:
    return isinstance(values, tuple) and all(isinstance(name, str) and _NAME.fullmatch(name) for name in values)


def _other_version(distribution: metadata.Distribution | None) -> str | None:
    """Return the versions of cbalign that a distribution requires, unless this version satisfies them."""
    for text in (distribution.requires or []) if distribution else []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.name == OWN and not requirement.specifier.contains(__version__, prereleases=True):
            return f"cbalign{requirement.specifier}"
    return None
