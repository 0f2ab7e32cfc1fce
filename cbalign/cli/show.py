"""`cbalign show`: a spec as it counts."""

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
@click.option("--resolved", is_flag=True, help="With every default filled in.")
@click.option("--origins", is_flag=True, help="Say beside each value where it was set.")
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
    """Print SPEC with its bases and changes applied. SPEC may be REV:path, a run or a bundle, too.

    `show A --patch CHANGE.yaml > B.yaml` writes A with a patch applied.
    """
    from cbalign.experiment.dump import as_data, fingerprint, write_yaml
    from cbalign.experiment.operands import open_operand

    loaded = open_operand(spec, overrides, profiles, patches).loaded
    told = {path: str(origin) for path, origin in loaded.origins.items()}
    data: Data = as_data(loaded.experiment)
    if not resolved:
        data = _only(data, {path for path, origin in told.items() if origin != "default"}, "")
    if as_json:
        mark = fingerprint(loaded.experiment)
        extra = {"origins": told} if origins else {}
        console.document({"spec": data, "fingerprint": mark, **extra})
        return
    for line in write_yaml(data, told if origins else None).splitlines():
        value, mark, remark = line.rpartition("  # ") if origins else (line, "", "")
        console.result(f"{value}{click.style(mark + remark, dim=True)}" if mark else line)


def _only(data: Data, paths: set[str], prefix: str) -> Data:
    """The part of the data that `paths` name, and the sections on the way to them."""
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
