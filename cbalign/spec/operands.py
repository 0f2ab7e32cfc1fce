"""What a name on the command line of `diff` or `show` means: a spec, a run, a bundle, or the defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cbalign.errors import UsageError
from cbalign.spec.experiment import FORMAT, Experiment
from cbalign.spec.fields import leaves
from cbalign.spec.load import LoadedExperiment, Origin, load_experiment

DEFAULTS = "defaults"
Kind = Literal["spec", "run", "bundle", "defaults"]
SPEC: Kind = "spec"


@dataclass(frozen=True)
class Operand:
    """An experiment and the thing that it is the experiment of."""

    name: str
    kind: Kind
    loaded: LoadedExperiment

    @property
    def experiment(self) -> Experiment:
        """The experiment."""
        return self.loaded.experiment


def open_operand(name: str, overrides: Sequence[str] = (), profiles: Sequence[str] = ()) -> Operand:
    """Find out what `name` is, and load its experiment. Data files need not be there.

    Raises:
        SpecError: an invalid spec, or nothing of that name.
        UsageError: a folder that is neither a run nor a bundle.
    """
    path = Path(name)
    if name == DEFAULTS and not path.exists():
        return Operand(name, "defaults", _defaults())
    kind, file = _inside(path) if path.is_dir() else (SPEC, name)
    return Operand(name, kind, load_experiment(file, overrides, profiles=profiles, check_files=False))


def _inside(folder: Path) -> tuple[Kind, str | Path]:
    if (resolved := folder / "resolved.yaml").is_file():
        return "run", resolved
    if (spec := folder / "spec.yaml").is_file():
        return ("bundle" if (folder / "manifest.json").is_file() else "run"), spec
    raise UsageError(
        f"{folder} is neither a run (no resolved.yaml in it) nor a bundle (no spec.yaml).",
        remedy="Name a spec file, a run or bundle folder, a recipe, or `defaults`.",
    )


def _defaults() -> LoadedExperiment:
    """The experiment that says nothing it need not say; its data are those of the quickstart."""
    data = (
        f'{{"cbalign": {FORMAT}, "name": "defaults", "data": {{"train": {{"source": "openmoji", "split": "train"}}}}}}'
    )
    experiment = Experiment.model_validate_json(data)
    return LoadedExperiment(experiment, {path: Origin() for path, _, _ in leaves(experiment)}, Path(DEFAULTS))
