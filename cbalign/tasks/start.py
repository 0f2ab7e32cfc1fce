"""What a training starts from: published weights, the model that `init` names, or its own checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from cbalign.data.text import Tokenizer
from cbalign.data.vocabulary import build_tokenizer, text_settings
from cbalign.engine.checkpoint import read_model
from cbalign.engine.manifest import Manifest
from cbalign.engine.run import Run, open_run
from cbalign.errors import CbalignError, CheckpointError
from cbalign.experiment.data import Source
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.requirements import with_requirements
from cbalign.experiment.task import InitSection
from cbalign.models.albef import from_albef
from cbalign.models.albef_sizes import infer_sizes
from cbalign.models.initial import start_from
from cbalign.models.pretrained import read_weights
from cbalign.models.weights import Alias
from cbalign.tasks.lineage import LINEAGE, TRAINED_ON, Ancestor, descend, refuse_seen, to_facts, trained_on

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Origin:
    """A trained model to start from."""

    label: str
    weights: Mapping[str, Tensor]
    tokenizer: Path | None  # folder; None: the spec's own
    lineage: tuple[Ancestor, ...]


@dataclass(frozen=True)
class Start:
    """What the model of an experiment starts from.

    Args:
        experiment: a complete spec.
        assets: folder of a checkpoint to go on from: its tokenizer is used, and initial weights are not read because
            the checkpoint's replace them.
        origin: what `init` names, unless `assets` are given.
        tell: is told what was loaded.
    """

    experiment: Experiment
    assets: Path | None
    origin: Origin | None
    tell: Tell

    @classmethod
    def of(cls, experiment: Experiment, assets: Path | None = None, tell: Tell = lambda line: None) -> Start:
        """Read what `init` names.

        Raises:
            CheckpointError: it is no run or file that can be started from.
        """
        origin = None if assets is not None or experiment.init is None else _open(experiment.init)
        return cls(experiment, assets, origin, tell)

    @property
    def published(self) -> bool:
        """Whether towers start from the weights that `model.vision.init` and `model.text.init` name."""
        return self.assets is None and self.origin is None

    def tokenizer(self, texts: Callable[[], Iterable[str]]) -> Tokenizer:
        """The tokenizer: that of the model to start from, cut and framed as the spec says, or the spec's own.

        Args:
            texts: gives the training texts; only called when a vocabulary is trained on them.
        """
        if self.assets is not None:
            return Tokenizer.load(self.assets)
        section = self.experiment.model.text
        if self.origin is not None and self.origin.tokenizer is not None:
            return Tokenizer.from_folder(self.origin.tokenizer, text_settings(section))
        return build_tokenizer(section, texts)

    def fill(self, model: nn.Module, aliases: Sequence[Alias] = ()) -> None:
        """Put the weights of the model to start from into `model`, and tell what became of them.

        Args:
            model: with a student and a teacher.
            aliases: as of `start_from`.

        Raises:
            CheckpointError: they do not fit.
        """
        if self.origin is None:
            return
        report = start_from(model, self.origin.weights, self.origin.label, aliases)
        self.tell(f"starting from {self.origin.label}: " + "; ".join(report.lines()))

    def require_unseen(self, data: Source) -> None:
        """Refuse to train what is to be called zero-shot on a source and cannot be.

        Raises:
            UsageError: this training, or the model that it starts from, sees the data set.
        """
        if self.assets is not None:
            return  # it was asked when the training began
        own = Ancestor(self.experiment.name, None, tuple(trained_on(self.experiment)), None)
        lineage = () if self.origin is None else self.origin.lineage
        if (doubt := refuse_seen(data, (own, *lineage))) is not None:
            self.tell(doubt)

    def facts(self) -> Mapping[str, object]:
        """For the run's manifest: what it is trained on, and where it comes from."""
        return {
            TRAINED_ON: trained_on(self.experiment),
            LINEAGE: [] if self.origin is None else to_facts(self.origin.lineage),
        }


def pinned(experiment: Experiment) -> Experiment:
    """The experiment as a run records it.

    `requires` lists the distributions of its parts, and `init` names the run that `runs/latest` is at this time.
    """
    experiment = with_requirements(experiment)
    if experiment.init is None or experiment.init.run is None:
        return experiment
    folder = open_run(Path(experiment.init.run)).folder
    init = experiment.init.model_copy(update={"run": str(folder)})
    return experiment.model_copy(update={"init": init})


def inherited_tokenizer(experiment: Experiment) -> Tokenizer | None:
    """The tokenizer of the run that `init` names, cut and framed as the spec says; None where there is none."""
    if experiment.init is None:
        return None
    given = Path(experiment.init.run or experiment.init.checkpoint or "")
    try:
        run = open_run(given) if experiment.init.run else Run(given.parent.parent)
        return Tokenizer.from_folder(run.assets, text_settings(experiment.model.text))
    except CbalignError:
        return None


def _open(section: InitSection) -> Origin:
    if section.run is not None:
        run = open_run(Path(section.run))
        return _of_run(run, run.latest_checkpoint())
    assert section.checkpoint is not None, "a spec names one of them"
    path = Path(section.checkpoint)
    if path.is_dir():
        run = Run(path.parent.parent)
        if not run.manifest.is_file():
            raise CheckpointError(
                f"init.checkpoint: {path} is not a checkpoint of a run",
                remedy="Name a folder checkpoints/step-N of a run, a run by init.run, or a file of ALBEF's form.",
            )
        return _of_run(run, path)
    return _of_albef(path)


def _of_run(run: Run, checkpoint: Path) -> Origin:
    step = int(checkpoint.name.rpartition("-")[2])
    label = f"{run.folder.name}, step {step}"
    manifest = Manifest.read(run.manifest)
    if not manifest.facts:
        raise CheckpointError(f"init: {run.folder} does not say what it is of")
    return Origin(label, read_model(checkpoint), run.assets, descend(run, step))


def _of_albef(file: Path) -> Origin:
    weights = read_weights(file)
    sizes = infer_sizes(weights, file, image_heads=1, text_heads=1)  # the spec gives the heads
    lineage = (Ancestor(file.name, None, None, None),)
    return Origin(file.name, from_albef(weights, sizes.text_layers), None, lineage)
