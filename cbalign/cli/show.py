"""`cbalign show`: print a spec with its bases and changes applied."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import console
from cbalign.cli.options import json_option, patch_option, profile_option, set_option, spec_argument

if TYPE_CHECKING:
    from cbalign.experiment.document import Data


@click.command()
@spec_argument
@set_option
@profile_option
@patch_option
@click.option("--resolved", is_flag=True, help="Fill in all defaults.")
@click.option("--origins", is_flag=True, help="Add the origin of each value as a comment.")
@json_option
def show(
    spec: str,
    overrides: tuple[str, ...],
    profiles: tuple[str, ...],
    patches: tuple[Path, ...],
    resolved: bool,
    origins: bool,
    as_json: bool,
) -> None:
    """Print SPEC with its bases and changes applied. SPEC may also be REV:path, a run or a bundle.

    `show A --patch CHANGE.yaml > B.yaml` writes A with a patch applied.
    """
    from cbalign.experiment.dump import as_data, experiment_fingerprint, write_yaml
    from cbalign.experiment.operands import open_operand

    loaded = open_operand(spec, overrides, profiles, patches).loaded
    sources = {path: str(origin) for path, origin in loaded.origins.items()}
    data: Data = as_data(loaded.experiment)
    if not resolved:
        data = _only(data, {path for path, origin in sources.items() if origin != "default"}, "")
    if as_json:
        mark = experiment_fingerprint(loaded.experiment)
        extra = {"origins": sources} if origins else {}
        console.document({"spec": data, "fingerprint": mark, **extra})
        return
    for line in write_yaml(data, sources if origins else None).splitlines():
        value, mark, remark = line.rpartition("  # ") if origins else (line, "", "")
        console.result(f"{value}{click.style(mark + remark, dim=True)}" if mark else line)


def _only(data: Data, paths: set[str], prefix: str) -> Data:
    """Return the part of the data that `paths` select, with the sections that contain it."""
    if isinstance(data, dict):
        kept = {
            name: _only(value, paths, f"{prefix}{name}.")
            for name, value in data.items()
            if any(path == f"{prefix}{name}" or path.startswith(f"{prefix}{name}.") for path in paths)
        }
        return dict(kept)
    if isinstance(data, list) and any(isinstance(item, dict) for item in data):
        return [_only(item, paths, f"{prefix}{index}.") for index, item in enumerate(data)]
    return data
