"""Which parts there are: those of cbalign itself and those of installed distributions.

cbalign's own parts are in the modules of the `sections` packages and in the `section` modules of subpackages. Others
are found by entry points (`cbalign.objectives`, `cbalign.sources`, …), whose name is that of the part. A part that
cannot be used is left out and reported; the others work.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec

from packaging.requirements import InvalidRequirement, Requirement

from cbalign import __version__
from cbalign.parts import kinds, towers
from cbalign.parts.origin import OWN, Origin, record_origin
from cbalign.parts.part import Part

_RESERVED = ("active", "named")  # attributes of the `objectives` section
_NAME = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True)
class Kind:
    """A kind of parts.

    Args:
        name: of the entry points' group, behind `cbalign.`, and for messages.
        base: the class that its sections derive from.
        package: where cbalign's own are.
        noun: what messages call one; `plural` is its plural.
        key: the setting that tells the parts of the kind apart; empty where the name of a part is a key or an item.
        required: settings that every part of the kind has.
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
        """What messages call several."""
        return f"{self.noun}s"


OBJECTIVES = Kind("objectives", kinds.ObjectiveSection, "cbalign.objectives", "objective")
SOURCES = Kind("sources", kinds.SourceSection, "cbalign.data", "source", "source")
TASKS = Kind("tasks", kinds.TaskSection, "cbalign.tasks", "task", "kind")
EVALUATIONS = Kind(
    "evaluations", kinds.EvaluationSection, "cbalign.evaluation", "evaluation", "kind", ("on",), ("cbalign.tasks",)
)
VISION_TOWERS = Kind("towers", towers.VisionTowerSection, "cbalign.models", "image tower", "kind", ("image_size",))
TEXT_TOWERS = Kind(
    "towers", towers.TextTowerSection, "cbalign.models", "text tower", "kind", ("max_tokens", "max_words")
)
SOLVERS = Kind("solvers", kinds.SolverSection, "cbalign.models", "solver", "solver")
SCHEDULES = Kind("schedules", kinds.ScheduleSection, "cbalign.engine", "schedule", "kind", ("warmup",))
PRECISIONS = Kind("precisions", kinds.PrecisionSection, "cbalign.exporting", "precision")
TARGETS = Kind("targets", kinds.TargetSection, "cbalign.exporting", "export target", "kind")
TRACKERS = Kind("trackers", kinds.TrackerSection, "cbalign.engine", "tracker", "kind")

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
    """A part that can be used."""

    kind: Kind
    name: str
    section: type[Part]
    origin: Origin

    @property
    def about(self) -> str:
        """The first line of the section's docstring."""
        return (self.section.__doc__ or "").strip().partition("\n")[0]


@dataclass(frozen=True)
class BrokenPart:
    """A part of an installed distribution that cannot be used, with the reason."""

    group: str
    name: str
    origin: Origin
    reason: str

    def __str__(self) -> str:
        return f"{self.origin}: its part `{self.name}` in cbalign.{self.group} is not used: {self.reason}"


@dataclass(frozen=True)
class Registry:
    """All parts, those of cbalign first."""

    parts: tuple[InstalledPart, ...]
    broken: tuple[BrokenPart, ...]

    def of(self, kind: Kind) -> dict[str, InstalledPart]:
        """The parts of a kind by name."""
        return {part.name: part for part in self.parts if part.kind == kind}


@cache
def registry() -> Registry:
    """Find all parts; done once in a process."""
    own = tuple(InstalledPart(kind, s.part_name(), s, Origin(OWN, __version__)) for kind in KINDS for s in _own(kind))
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


def sections(kind: Kind) -> tuple[type[Part], ...]:
    """The sections of a kind, cbalign's first, in a fixed order."""
    return tuple(part.section for part in registry().of(kind).values())


def broken_part(kind: Kind, name: str) -> BrokenPart | None:
    """A part of this name that is installed and cannot be used."""
    return next((part for part in registry().broken if part.group == kind.name and part.name == name), None)


def _group(part: InstalledPart | BrokenPart) -> str:
    return part.group if isinstance(part, BrokenPart) else part.kind.name


def _own(kind: Kind) -> Iterator[type[Part]]:
    """cbalign's own parts of a kind: modules of `sections`, and `section` of each subpackage."""
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


def _entry_points() -> Iterator[tuple[metadata.EntryPoint, tuple[Kind, ...]]]:
    by_group: dict[str, tuple[Kind, ...]] = {}
    for kind in KINDS:
        by_group[f"{OWN}.{kind.name}"] = (*by_group.get(f"{OWN}.{kind.name}", ()), kind)
    installed = metadata.entry_points()
    for group, of_group in by_group.items():
        for point in sorted(installed.select(group=group), key=lambda point: (point.name, point.value)):
            yield point, of_group


def _load(point: metadata.EntryPoint, of_group: tuple[Kind, ...]) -> InstalledPart | BrokenPart:
    group = of_group[0].name
    origin = Origin(point.dist.name, point.dist.version) if point.dist else Origin("unknown distribution", "")

    def broken(reason: str) -> BrokenPart:
        return BrokenPart(group, point.name, origin, reason)

    if (wanted := _other_version(point.dist)) is not None:
        return broken(f"it requires {wanted}, and this is cbalign {__version__}; install a version of it that fits")
    try:
        section = point.load()
    except Exception as error:  # a module of somebody else can raise anything
        return broken(f"{point.value} cannot be imported: {type(error).__name__}: {error}")
    kind = next((k for k in of_group if inspect.isclass(section) and issubclass(section, k.base)), None)
    if kind is None:
        bases = " or ".join(each.base.__name__ for each in of_group)
        return broken(f"{point.value} is not a class derived from {bases}")
    if (flaw := _flaw(point.name, point.value, kind, section)) is not None:
        return broken(flaw)
    return InstalledPart(kind, point.name, section, origin)


def _flaw(name: str, value: str, kind: Kind, section: type[Part]) -> str | None:
    """What is wrong with a section that an entry point names."""
    try:
        own_name = section.part_name()
    except (TypeError, AttributeError, StopIteration) as error:
        return f"{value} has no name: {error}"
    if own_name != name:
        return f"{value} is called `{own_name}`, but its entry point `{name}`; both must agree"
    reserved = kind == OBJECTIVES and (name in _RESERVED or hasattr(kinds.ObjectiveSection, name))
    if not _NAME.fullmatch(name) or reserved or (kind == OBJECTIVES and not name.isidentifier()):
        return f"`{name}` cannot be the name of a part: use other words, of lower-case letters, digits and _"
    if not isinstance(getattr(section, "builds", None), str) or ":" not in section.builds:
        return f"{value} does not define what it builds: set `builds` to 'module:attribute'"
    if missing := [each for each in (kind.key, *kind.required) if each and each not in section.model_fields]:
        return f"{value} lacks the setting{'s' * (len(missing) > 1)} {', '.join(missing)} that every {kind.noun} has"
    return None


def _other_version(distribution: metadata.Distribution | None) -> str | None:
    """The versions of cbalign that a distribution requires, if this is none of them."""
    for text in (distribution.requires or []) if distribution else []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.name == OWN and not requirement.specifier.contains(__version__, prereleases=True):
            return f"cbalign{requirement.specifier}"
    return None
