"""The part of `cbalign export` that handles export targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cbalign.cli import console
from cbalign.errors import UsageError
from cbalign.experiment.unions import usable
from cbalign.parts import TargetSection
from cbalign.parts.registry import TARGETS

if TYPE_CHECKING:
    from cbalign.exporting.targets import TargetRequest


def requests(names: Sequence[str], triton: Path | None, precision: str | None = None) -> tuple[TargetRequest, ...]:
    """The targets that options ask for, each once.

    Args:
        names: of `--target`.
        triton: the folder of `--triton`, a target with a folder of its own choice.
        precision: the precision of each target's graphs.

    Raises:
        UsageError: a target needs settings, or has no choice of precision and one is given.
    """
    from cbalign.exporting.targets import TargetRequest, target_section

    folders: dict[str, Path | None] = dict.fromkeys(names)
    if triton is not None:
        folders["triton"] = triton
    settings = {} if precision is None else {"precision": precision}
    for name in folders:
        if settings.keys() - usable(TARGETS)[name].model_fields.keys():
            raise UsageError(f"the target {name} has no setting `precision`", remedy="Leave --precision out.")
    return tuple(TargetRequest(target_section(name, **settings), folder) for name, folder in folders.items())


def write_targets(bundle: Path, asked: Sequence[TargetRequest], *, force: bool, as_json: bool) -> None:
    """Write targets of an existing bundle and print their folders."""
    from cbalign.exporting.targets import require_free, write_target

    for request in asked:
        require_free(request.output(bundle), force=force)
    written = {request.section.kind: write_target(request, bundle, force=force) for request in asked}
    show_next_steps(written)
    if as_json:
        targets = {kind: str(folder) for kind, folder in written.items()}
        console.document({"bundle": str(bundle), "targets": targets})
    else:
        console.result("\n".join(map(str, written.values())))


def show_next_steps(written: Mapping[str, Path]) -> None:
    """Print where each target is, and what to do with it."""
    for kind, folder in written.items():
        content = ", ".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")))
        console.note(f"target {kind}: {folder} ({content})")
        section = usable(TARGETS)[kind]
        assert issubclass(section, TargetSection), "the registry checks it"
        if section.next_step is not None:
            console.note(f"next: {section.next_step.format(folder=folder.resolve())}")
