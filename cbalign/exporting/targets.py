"""Build export targets from a finished bundle: other layouts and formats, each in its own folder. Without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cbalign.engine.files import new_folder, replace_folder, storage_errors
from cbalign.errors import UsageError
from cbalign.experiment.unions import usable
from cbalign.parts import TargetSection
from cbalign.parts.registry import TARGETS
from cbalign.runtime.bundle import BundleFolder

MARK = ".cbalign-target"
"""File in the folder of a target; only folders that have it are replaced."""


@dataclass(frozen=True)
class TargetRequest:
    """A target to build and its output folder, by default `<bundle>-<kind>`."""

    section: TargetSection
    folder: Path | None = None

    def output(self, bundle: Path) -> Path:
        """Return the output folder for a bundle."""
        return self.folder or bundle.with_name(f"{bundle.name}-{self.section.kind}")


def target_section(name: str, **settings: object) -> TargetSection:
    """Create the section of an installed target from `settings` and its defaults.

    Raises:
        UsageError: the target does not exist, or a setting has no default.
    """
    known = usable(TARGETS)
    if name not in known:
        raise UsageError(f"no export target {name!r}", remedy=f"Installed are {', '.join(known)}.")
    try:
        section = known[name].model_validate({"kind": name, **settings})
    except ValidationError as error:
        wrong = sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]})
        raise UsageError(
            f"the export target {name} cannot be made with its defaults: see its setting {', '.join(wrong)}",
            remedy="List it with its settings under export.targets in the spec.",
        ) from error
    assert isinstance(section, TargetSection), "the registry checks it"
    return section


def merge_requests(written: Iterable[TargetSection], asked: Sequence[TargetRequest]) -> tuple[TargetRequest, ...]:
    """Merge a spec's targets with requested ones, each kind once; the settings of the spec take precedence."""
    requests = {section.kind: TargetRequest(section) for section in written}
    for request in asked:
        section = requests.get(request.section.kind, request).section
        requests[request.section.kind] = TargetRequest(section, request.folder)
    return tuple(requests.values())


def require_free(output: Path, *, force: bool) -> None:
    """Require that `output` does not exist or may be replaced.

    Raises:
        UsageError: `output` exists, and `force` is not given or it was not written by an export target.
    """
    if not output.exists():
        return
    if not force:
        raise UsageError(f"{output} already exists", remedy="Add `force=True` to replace it, or remove it.")
    if not (output / MARK).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise UsageError(
            f"{output} was not written by an export target; `force=True` replaces only folders that were",
            remedy="Remove it, or choose a different folder.",
        )


def require_graphs(section: TargetSection, graphs: Iterable[str], owner: str) -> None:
    """Require that the graphs a target needs are exported.

    Raises:
        UsageError: a graph is missing.
    """
    available = tuple(graphs)
    missing = [graph for graph in section.needs_graphs if graph not in available]
    if missing:
        raise UsageError(
            f"the export target {section.kind} needs the graphs {' and '.join(section.needs_graphs)}; {owner} has "
            f"{', '.join(available)}",
            remedy=f"Leave the target {section.kind} out.",
        )


def write_target(request: TargetRequest, bundle: Path, *, force: bool = False) -> Path:
    """Build a target of a bundle under a temporary name, then rename it.

    Args:
        request: what to build.
        bundle: folder of a complete bundle.
        force: whether to replace a folder that an export target wrote.

    Returns:
        The folder.

    Raises:
        UsageError: the folder exists, or the bundle lacks a graph.
        PartError: the target's builder cannot be called.
        StorageError: it cannot be written.
    """
    output = request.output(bundle)
    require_free(output, force=force)
    manifest = BundleFolder.open(bundle).manifest
    require_graphs(request.section, manifest.graphs, str(bundle))
    fresh = output.with_name(f".new-{output.name}")
    with storage_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)
    with new_folder(fresh) as folder:
        request.section.build(bundle, folder)
        mark = {"kind": request.section.kind, "bundle": manifest.name, "created": manifest.created}
        (folder / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")
    replace_folder(output, fresh)
    return output
