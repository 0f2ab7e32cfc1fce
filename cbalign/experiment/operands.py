"""Resolve operands of `diff` and `show`: a spec, run, checkpoint, bundle or the defaults."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cbalign.errors import UsageError
from cbalign.experiment.experiment import FORMAT, Experiment
from cbalign.experiment.fields import leaves
from cbalign.experiment.files import COMPLETE, DISK
from cbalign.experiment.load import LoadedExperiment, Origin, load_experiment
from cbalign.experiment.recipes import find_spec

DEFAULTS = "defaults"
OperandKind = Literal["spec", "revision", "run", "checkpoint", "bundle", "defaults"]
_LATEST = "latest"  # a file in a folder of runs or checkpoints that names the newest
_CHECKPOINT = re.compile(r"step-\d+")
_WEIGHTS = (".safetensors", ".onnx", ".pt", ".pth", ".bin")
_REMEDY = "Name a spec file, REV:path, a recipe, a run, checkpoint or bundle folder, or `defaults`."


@dataclass(frozen=True)
class Operand:
    """An experiment and its source.

    `folder`: the run, checkpoint or bundle directory. `run`: the run directory, also of a checkpoint.
    """

    name: str
    kind: OperandKind
    loaded: LoadedExperiment
    folder: Path | None = None
    run: Path | None = None

    @property
    def experiment(self) -> Experiment:
        """The experiment."""
        return self.loaded.experiment


def open_operand(
    name: str, overrides: Sequence[str] = (), profiles: Sequence[str] = (), patches: Sequence[Path] = ()
) -> Operand:
    """Resolve `name` and load its experiment. Data files need not exist.

    Raises:
        SpecError: the spec is invalid, or nothing has that name.
        UsageError: the folder is none of these or lacks its spec, or the git revision or its file does not exist.
    """
    path = Path(name)
    if name == DEFAULTS and not path.exists():
        return Operand(name, "defaults", _defaults())
    if path.name == _LATEST and path.is_file():
        path = path.parent / path.read_text(encoding="utf-8", errors="replace").strip()
    if path.suffix in _WEIGHTS:
        raise UsageError(f"{name} holds weights, not an experiment.", remedy=_REMEDY)
    if path.is_dir():
        kind, spec, run = _inside(path)
        files = COMPLETE if kind == "bundle" else DISK
        loaded = load_experiment(spec, overrides, profiles=profiles, patches=patches, check_files=False, files=files)
        return Operand(name, kind, loaded, path, run)
    if ":" in name and find_spec(name) is None:
        from cbalign.experiment.revision import open_revision

        revision, path = open_revision(name)
        loaded = load_experiment(path, overrides, profiles=profiles, patches=patches, check_files=False, files=revision)
        return Operand(name, "revision", loaded)
    loaded = load_experiment(name, overrides, profiles=profiles, patches=patches, check_files=False)
    return Operand(name, "spec", loaded)


def _inside(folder: Path) -> tuple[OperandKind, Path, Path | None]:
    """Return the kind of a folder, its spec file and its run."""
    if (resolved := folder / "resolved.yaml").is_file():
        return "run", resolved, folder
    if _CHECKPOINT.fullmatch(folder.absolute().name):
        run = folder.parent.parent if len(folder.parts) > 2 else folder.absolute().parent.parent
        if (resolved := run / "resolved.yaml").is_file():
            return "checkpoint", resolved, run
        raise UsageError(
            f"{folder} is a checkpoint without its run: {run / 'resolved.yaml'} does not exist.",
            remedy="Keep checkpoints in the folder checkpoints/ of their run, which has the spec.",
        )
    spec, manifest = folder / "spec.yaml", _manifest(folder)
    if spec.is_file():
        return ("bundle", spec, None) if manifest and "kind" in manifest else ("run", spec, folder)
    if manifest is not None:
        what = "bundle" if "kind" in manifest else "run"
        raise UsageError(f"{folder} is a {what} without its spec: it has a manifest.json, but no spec.yaml.")
    raise UsageError(f"{folder} is neither a run nor a checkpoint nor a bundle.", remedy=_REMEDY)


def _manifest(folder: Path) -> dict[str, object] | None:
    """Return a folder's manifest; empty if it is damaged, `None` if there is none."""
    try:
        if not (folder / "manifest.json").is_file():
            return None
        found = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _defaults() -> LoadedExperiment:
    """Load the experiment with all defaults, on the data of the quickstart."""
    data = (
        f'{{"cbalign": {FORMAT}, "name": "defaults", "data": {{"train": {{"source": "openmoji", "split": "train"}}}}}}'
    )
    experiment = Experiment.model_validate_json(data)
    return LoadedExperiment(experiment, {path: Origin() for path, _, _ in leaves(experiment)}, Path(DEFAULTS))
