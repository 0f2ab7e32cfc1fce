"""Record which distributions a spec needs for its parts, and check those that it lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from cbalign import __version__
from cbalign.experiment.diagnostics import Diagnostic
from cbalign.experiment.document import ListNode, MapNode, ScalarNode
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.unions import usable
from cbalign.parts.origin import OWN, origin_of
from cbalign.parts.part import Part
from cbalign.parts.registry import PRECISIONS
from cbalign.parts.section import Section

REQUIRES = "requires"


def plugins(experiment: Experiment, more: Sequence[type[Part]] = ()) -> dict[str, str]:
    """Return the distributions, besides cbalign, whose parts an experiment uses, with their installed versions.

    Args:
        experiment: the experiment.
        more: other parts in use, such as targets named on the command line.
    """
    precisions = usable(PRECISIONS)
    parts = [*_parts(experiment), *(precisions[name] for name in experiment.export.precisions), *more]
    origins = [origin_of(part) for part in parts]
    found = {origin.distribution: origin.version for origin in origins if origin is not None and not origin.is_own}
    return dict(sorted(found.items()))


def with_requirements(experiment: Experiment, more: Sequence[type[Part]] = ()) -> Experiment:
    """Return the experiment with every distribution that provides its parts in `requires`.

    Existing entries are unchanged; new ones require at least the installed version.
    """
    listed = {_distribution(text) for text in experiment.requires}
    found = plugins(experiment, more)
    added = [_at_least(*each) for each in found.items() if canonicalize_name(each[0]) not in listed]
    return experiment.model_copy(update={REQUIRES: (*experiment.requires, *added)}) if added else experiment


def unmet_requirements(tree: MapNode) -> Iterator[Diagnostic]:
    """Yield a diagnostic for each entry of `requires` that the installed distributions do not satisfy."""
    node = tree.get(REQUIRES)
    for position, item in enumerate(node.items if isinstance(node, ListNode) else ()):
        if not isinstance(item, ScalarNode) or not isinstance(item.value, str):
            continue  # validation reports it
        if (problem := _problem(item.value)) is not None:
            message, hint = problem
            yield Diagnostic(message, item.place, f"{REQUIRES}.{position}", hint=hint)


def _problem(text: str) -> tuple[str, str] | None:
    """Return why a requirement is not satisfied and how to fix it; None if it is."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return (
            f"{text!r} is not a valid requirement",
            "write a distribution as pip names it, such as `cbalign-sigmoid>=1.0`",
        )
    if requirement.marker is not None and not requirement.marker.evaluate():
        return None
    install = f"pip install '{text}'"
    try:
        version = __version__ if requirement.name == OWN else metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"this spec needs {text}, which is not installed", install
    if not requirement.specifier.contains(version, prereleases=True):
        return f"this spec needs {text}, but {requirement.name} {version} is installed", install
    return None


def _parts(section: Section) -> Iterator[type[Part]]:
    """Yield all parts in a section, including itself."""
    if isinstance(section, Part):
        yield type(section)
    for name in type(section).model_fields:
        value = getattr(section, name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Section):
                yield from _parts(each)


def _at_least(distribution: str, version: str) -> str:
    try:
        return f"{distribution}>={Version(version).public}"
    except InvalidVersion:
        return distribution


def _distribution(text: str) -> str:
    """Return the normalised distribution name of a requirement."""
    try:
        return canonicalize_name(Requirement(text).name)
    except InvalidRequirement:
        return text
