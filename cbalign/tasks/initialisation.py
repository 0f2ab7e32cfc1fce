"""The initial weights and tokenizer of a training: published, of the model that `init` names, or of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from cbalign.data.image import Preprocessing
from cbalign.data.text import Tokenizer
from cbalign.data.vocabulary import build_tokenizer, text_settings
from cbalign.engine.checkpoint import read_model
from cbalign.engine.checkpoint_folder import step_of
from cbalign.engine.lineage import LINEAGE, TRAINED_ON, Ancestor, descend, refuse_seen, to_facts, trained_on
from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder, open_run
from cbalign.errors import CbalignError, CheckpointError
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.load import load_experiment
from cbalign.experiment.requirements import with_requirements
from cbalign.experiment.task import InitSection
from cbalign.models.adapters import merged_weights
from cbalign.models.albef import from_albef
from cbalign.models.albef_sizes import infer_sizes
from cbalign.models.initial import start_from
from cbalign.models.preprocessing import chosen_preprocessing, preprocessing_of
from cbalign.models.pretrained import read_weights
from cbalign.models.weights import Alias
from cbalign.parts import SourceSection
from cbalign.parts.preprocessing import PreprocessingSection

Notice = Callable[[str], None]
"""Shows one message."""


@dataclass(frozen=True)
class InitialModel:
    """A trained model to start from."""

    label: str
    weights: Mapping[str, Tensor]
    tokenizer: Path | None  # folder; None: the spec's own tokenizer
    lineage: tuple[Ancestor, ...]
    preprocessing: Preprocessing | None = None  # that it was trained with, as far as it is recorded


@dataclass(frozen=True)
class Initialisation:
    """The initial state of an experiment's model.

    Args:
        experiment: a complete spec.
        assets: assets of the checkpoint to resume from. Its tokenizer is used; initial weights are not read because
            those of the checkpoint replace them.
        source: the model that `init` names, unless `assets` are given.
        notice: shows messages about what was loaded.
    """

    experiment: Experiment
    assets: Path | None
    source: InitialModel | None
    notice: Notice

    @classmethod
    def of(
        cls, experiment: Experiment, assets: Path | None = None, notice: Notice = lambda line: None
    ) -> Initialisation:
        """Read the model that `init` names.

        Raises:
            CheckpointError: `init` names no run or file that a training can start from.
        """
        source = None if assets is not None or experiment.init is None else _open(experiment.init)
        return cls(experiment, assets, source, notice)

    @property
    def uses_published_weights(self) -> bool:
        """Whether towers start from the weights that their sections name."""
        return self.assets is None and self.source is None

    def tokenizer(self, texts: Callable[[], Iterable[str]]) -> Tokenizer:
        """Return the tokenizer of the model to start from, with the spec's text settings, or the spec's own.

        Args:
            texts: returns the training texts; called only if a vocabulary is trained on them.
        """
        if self.assets is not None:
            return Tokenizer.load(self.assets)
        section = self.experiment.model.text
        if self.source is not None and self.source.tokenizer is not None:
            return Tokenizer.from_folder(self.source.tokenizer, text_settings(section))
        return build_tokenizer(section, texts)

    def load_into(self, model: nn.Module, aliases: Sequence[Alias] = ()) -> None:
        """Copy the weights of the model to start from into `model`, and report what was loaded.

        Args:
            model: with a student and a teacher.
            aliases: see `start_from`.

        Raises:
            CheckpointError: they do not fit.
        """
        if self.source is None:
            return
        loaded = start_from(model, self.source.weights, self.source.label, aliases)
        self.notice(f"starting from {self.source.label}: " + "; ".join(loaded.lines()))
        before, now = self.source.preprocessing, preprocessing_of(model)
        if before is not None and (before.mean, before.std) != (now.mean, now.std):
            self.notice(
                f"{self.source.label} was trained on pixels of mean {before.mean} and std {before.std}, this model "
                f"sees mean {now.mean} and std {now.std}; set model.vision.preprocessing to keep the former"
            )

    def require_unseen(self, data: SourceSection) -> None:
        """Reject zero-shot evaluation on data that the model is trained on.

        Raises:
            UsageError: this training, or the model that it starts from, uses the data set.
        """
        if self.assets is not None:
            return  # checked when the training began
        own = Ancestor(self.experiment.name, None, tuple(trained_on(self.experiment)), None)
        lineage = () if self.source is None else self.source.lineage
        if (doubt := refuse_seen(data, (own, *lineage))) is not None:
            self.notice(doubt)

    def describe(self) -> Mapping[str, object]:
        """Return the training data sets and the lineage, for the run's manifest."""
        return {
            TRAINED_ON: trained_on(self.experiment),
            LINEAGE: [] if self.source is None else to_facts(self.source.lineage),
        }


def pinned(experiment: Experiment) -> Experiment:
    """Return the experiment as a run records it.

    `requires` lists the distributions of its parts, and `init` names the run that `runs/latest` is at this time.
    """
    experiment = with_requirements(experiment)
    if experiment.init is None or experiment.init.run is None:
        return experiment
    folder = open_run(Path(experiment.init.run)).folder
    init = experiment.init.model_copy(update={"run": str(folder)})
    return experiment.model_copy(update={"init": init})


def with_preprocessing(experiment: Experiment, preprocessing: Preprocessing) -> Experiment:
    """Return the experiment as a run records it, with the preprocessing that its weights turned out to have.

    The run can then be used without the files that its weights came from.
    """
    section = experiment.model.vision.with_preprocessing(
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=preprocessing.resample,
        fit=preprocessing.fit,
        crop=preprocessing.crop,
    )
    return experiment.model_copy(update={"model": experiment.model.model_copy(update={"vision": section})})


def inherited_tokenizer(experiment: Experiment) -> Tokenizer | None:
    """Return the tokenizer of the run that `init` names, with the spec's text settings; None if there is none."""
    if experiment.init is None:
        return None
    given = Path(experiment.init.run or experiment.init.checkpoint or "")
    try:
        run = open_run(given) if experiment.init.run else RunFolder(given.parent.parent)
        return Tokenizer.from_folder(run.assets, text_settings(experiment.model.text))
    except CbalignError:
        return None


def _open(section: InitSection) -> InitialModel:
    if section.run is not None:
        run = open_run(Path(section.run))
        return _of_run(run, run.latest_checkpoint())
    assert section.checkpoint is not None, "a spec names one of them"
    path = Path(section.checkpoint)
    if path.is_dir():
        run = RunFolder(path.parent.parent)
        if not run.manifest.is_file():
            raise CheckpointError(
                f"init.checkpoint: {path} is not a checkpoint of a run",
                remedy="Name a folder checkpoints/step-N of a run, a run by init.run, or a file of ALBEF's form.",
            )
        return _of_run(run, path)
    return _of_albef(path)


def _of_run(run: RunFolder, checkpoint: Path) -> InitialModel:
    step = step_of(checkpoint)
    label = f"{run.folder.name}, step {step}"
    manifest = Manifest.read(run.manifest)
    if not manifest.facts:
        raise CheckpointError(f"init: the manifest of {run.folder} lacks its metadata")
    weights = merged_weights(read_model(checkpoint))
    return InitialModel(label, weights, run.assets, descend(run, step), _recorded_preprocessing(run))


def _recorded_preprocessing(run: RunFolder) -> Preprocessing | None:
    """Return the preprocessing that a run recorded; None for towers without the setting, or a spec that is damaged."""
    try:
        vision = load_experiment(run.resolved, check_files=False).experiment.model.vision
    except CbalignError:
        return None
    section: PreprocessingSection | None = getattr(vision, "preprocessing", None)
    if section is None or (section.of_weights and not section.is_complete):
        return None
    return chosen_preprocessing(section, vision.image_size, lambda: Preprocessing(vision.image_size))


def _of_albef(file: Path) -> InitialModel:
    weights = read_weights(file)
    sizes = infer_sizes(weights, file, image_heads=1, text_heads=1)  # the spec gives the heads
    lineage = (Ancestor(file.name, None, None, None),)
    weights = from_albef(weights, sizes.text_layers)
    return InitialModel(file.name, weights, None, lineage, Preprocessing(sizes.image_size))
