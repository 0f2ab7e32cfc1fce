"""A spec overlay that makes the second experiment of the first."""

from __future__ import annotations

from pathlib import Path

from cbalign.experiment.diff import patch_document
from cbalign.experiment.dump import write_yaml
from cbalign.experiment.operands import Operand


def as_patch(before: Operand, after: Operand) -> str:
    """A spec that extends A and is B; where A is no file of the disk, an overlay to apply to it."""
    extends = _reference(before) if before.kind == "spec" and before.name != "-" else None
    document = patch_document(before.experiment, after.experiment, extends)
    use = f"{before.name} + this = {after.name}; apply it to another spec: cbalign show SPEC --patch FILE"
    return f"# {use}\n" + (write_yaml(document).rstrip("\n") if document else "{}")


def _reference(operand: Operand) -> str:
    """How a spec in the working directory names A."""
    path = operand.loaded.path.absolute()
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else operand.name
