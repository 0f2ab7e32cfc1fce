"""Training in Python, and runs as objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cbalign.api.arguments import listed
from cbalign.api.reporting import as_line, reporter_of
from cbalign.api.specs import Spec, SpecSource
from cbalign.errors import UsageError

if TYPE_CHECKING:
    from cbalign.api.model import Model
    from cbalign.api.pairs import Pairs
    from cbalign.engine.reporter import Reporter
    from cbalign.tasks.train import Trained

StepCallback = Callable[[Mapping[str, Any]], None]
"""A function that is called with each log line and each evaluation, as a dict: `kind` (`train` or `evaluation`),
`step`, `epoch` and the metrics, for `train` with `loss`, `lr` and `samples_per_second`. `train.log_every` and
`train.evaluate_every` say how often. It is called in the thread of the training, of the main process only, once the
line is in `metrics.jsonl`; its return value is ignored.

To stop early, raise `KeyboardInterrupt`: as after Ctrl-C, the training writes a checkpoint and raises `Interrupted`.
Any other exception ends the training without a checkpoint, with the status `failed`."""


@dataclass(frozen=True, init=False)
class Run:
    """A run directory: one experiment, trained once. `cbalign.Run("runs/latest")` opens an existing run.

    Args:
        path: a run directory, its name in `runs/`, or `runs/latest`; as an attribute, the absolute path of the
            directory.
        trained: set by `cbalign.train` and `cbalign.resume`.

    Raises:
        UsageError: there is no such run.
        CheckpointError: it is not a run.
    """

    path: Path
    trained: Trained | None = field(default=None, repr=False, compare=False)

    def __init__(self, path: str | Path | Run, trained: Trained | None = None) -> None:
        found = trained.run.folder if trained is not None else _folder(path)
        object.__setattr__(self, "path", found.absolute())  # the working directory may change later
        object.__setattr__(self, "trained", trained)

    @property
    def name(self) -> str:
        """Name of the run directory."""
        return self.path.name

    @property
    def status(self) -> str:
        """`running`, `finished`, `interrupted`, `diverged` or `failed`."""
        return str(self._manifest().status)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the last evaluation, by name (`validation/dual/image_to_text/r1`)."""
        return dict(self._manifest().metrics)

    @property
    def spec(self) -> Spec:
        """The resolved spec."""
        from cbalign.engine.run import RunFolder
        from cbalign.experiment.load import load_experiment

        resolved = RunFolder(self.path).resolved
        return Spec(resolved, load_experiment(resolved, check_files=False), check_files=False)

    @property
    def checkpoints(self) -> list[Path]:
        """Folders of the checkpoints, oldest first."""
        from cbalign.engine.checkpoint_folder import list_checkpoints
        from cbalign.engine.run import RunFolder

        return list_checkpoints(RunFolder(self.path).checkpoints)

    def best(self, metric: str) -> Path:
        """The folder of the checkpoint with the best value of a metric, for `cbalign.load`, `evaluate` and `export`.

        Args:
            metric: an evaluated metric, by its name, the end of its name, or a pattern with `*`, whose metrics are
                averaged. Larger is better, except for ranks, losses and errors.

        Raises:
            UsageError: no evaluation has such a metric.
            CheckpointError: the best checkpoint was not kept; see `train.keep_best`.

        Examples:
            >>> run.best("validation/dual/image_to_text/r1")
        """
        from cbalign.engine.run import RunFolder
        from cbalign.lab.runs.best import best_checkpoint

        return best_checkpoint(RunFolder(self.path), metric)

    def history(self, kind: Literal["train", "evaluation"] | None = None) -> list[dict[str, Any]]:
        """The log lines as dicts: `kind`, `step`, `epoch` and the metrics. `pandas.DataFrame(run.history())` works.

        Args:
            kind: only lines of this kind.
        """
        from cbalign.engine.metrics_file import read_records
        from cbalign.engine.run import RunFolder

        records = read_records(RunFolder(self.path).metrics)
        return [as_line(record) for record in records if kind in (None, record.kind)]

    def load(self, **options: Any) -> Model:
        """Open the newest checkpoint; see `cbalign.load`."""
        from cbalign.api.opening import load

        return load(self, **options)

    def to_dict(self) -> dict[str, Any]:
        """Path, status and metrics as plain data."""
        manifest = self._manifest()
        return {"path": str(self.path), "status": manifest.status, "metrics": dict(manifest.metrics)}

    def _manifest(self) -> Any:
        from cbalign.engine.manifest import Manifest
        from cbalign.engine.run import RunFolder

        return Manifest.read(RunFolder(self.path).manifest)

    def __repr__(self) -> str:
        from cbalign.engine.files import shown_path

        lines = [f"Run {shown_path(self.path)} ({self.status})"]
        return "\n".join([*lines, *(f"  {name}: {value:.4g}" for name, value in self.metrics.items())])

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{escape(n)}</td><td>{v:.4g}</td></tr>" for n, v in self.metrics.items())
        return f"<table><caption>Run {escape(self.name)} ({escape(self.status)})</caption>{rows}</table>"


def train(
    source: SpecSource,
    /,
    *,
    data: Pairs | None = None,
    validation: Pairs | None = None,
    test: Pairs | None = None,
    runs: str | Path = "runs",
    on_step: StepCallback | None = None,
    progress: bool | Reporter = True,
    **changes: Any,
) -> Run:
    """Train an experiment in a new run directory, in this process.

    Args:
        source: the spec, as `cbalign.spec` takes it.
        data: pairs to train on instead of `data.train`, see `Pairs`. The run stores a fingerprint of the captions, not
            the pairs: another process must pass the same pairs to `cbalign.resume`, and pairs to `cbalign.evaluate`.
        validation: pairs in place of `data.validation`. Without it, a training on `data` is measured on the validation
            data of the spec, with a warning.
        test: pairs in place of `data.test`.
        runs: the folder of runs.
        on_step: called with each log line and evaluation, see `StepCallback`; it can stop the training.
        progress: whether to show a progress bar in a terminal or notebook, and lines elsewhere; or a `Reporter`.
        **changes: see `cbalign.spec`.

    Raises:
        SpecError: the spec is not valid.
        DataError: the data cannot be read.
        DivergenceError: the loss became infinite or NaN.
        Interrupted: Ctrl-C, a signal or `on_step` stopped the training after a checkpoint; `cbalign.resume` continues
            it.

    Examples:
        >>> run = cbalign.train("quickstart", **{"train.duration": "20 steps"}, on_step=print)
        >>> run.metrics
    """
    from cbalign.api.memory import foreign_validation, with_data
    from cbalign.api.opening import python_warning

    given = with_data(source, changes, {"train": data, "validation": validation, "test": test})
    if data is not None and validation is None and (doubt := foreign_validation(given)) is not None:
        python_warning(doubt)
    return begin(given, Path(runs), reporter_of(progress, on_step), argv=("cbalign.train",))


def begin(given: Spec, runs: Path, reporter: Reporter, *, argv: Sequence[str]) -> Run:
    """Train a spec; `argv` are the words that the run's manifest records."""
    from cbalign.tasks.train import train_experiment

    trained = train_experiment(given.loaded, runs, reporter, argv=argv)
    return Run(trained.run.folder, trained)


def resume(
    run: str | Path | Run,
    /,
    *,
    data: Pairs | None = None,
    validation: Pairs | None = None,
    test: Pairs | None = None,
    on_step: StepCallback | None = None,
    progress: bool | Reporter = True,
    overrides: str | Sequence[str] = (),
    accept_changes: bool = False,
    **changes: Any,
) -> Run:
    """Continue a training from its newest checkpoint; a finished run is returned as it is.

    Args:
        run: a run directory, its name in `runs/`, `runs/latest`, or a `Run`.
        data: the training pairs that `cbalign.train` was given.
        validation: the validation pairs that it was given.
        test: the test pairs that it was given.
        on_step: see `cbalign.train`.
        progress: see `cbalign.train`.
        overrides: changes as texts of `--set`.
        accept_changes: continue although settings or data changed since the training began; the manifest records it.
        **changes: settings of effect `runtime`, by dotted path.

    Raises:
        UsageError: a change would make it another training, the pairs are not those of the run, or its settings or
            data changed.
        CheckpointError: it is not a run, or its checkpoint is damaged.
    """
    from cbalign.api.memory import give_again
    from cbalign.experiment.dump import inline

    folder = _folder(run)
    given = {"train": data, "validation": validation, "test": test}
    if any(pairs is not None for pairs in given.values()):
        give_again(Run(folder).spec, given)
    words = [*listed(overrides), *(f"{path}={inline(value)}" for path, value in changes.items())]
    reporter = reporter_of(progress, on_step)
    return proceed(folder, words, reporter, argv=("cbalign.resume",), accept_changes=accept_changes)


def proceed(
    folder: Path,
    overrides: Sequence[str],
    reporter: Reporter,
    *,
    argv: Sequence[str],
    accept_changes: bool = False,
) -> Run:
    """Resume the run in a folder; `argv` are the words that the run's manifest records."""
    from cbalign.engine.run import RunFolder as Folders
    from cbalign.tasks.train import resume_run

    trained = resume_run(Folders(folder), overrides, reporter, argv=argv, accept=accept_changes)
    return Run(trained.run.folder, trained)


def _folder(run: str | Path | Run) -> Path:
    """The directory of a run.

    Raises:
        UsageError: there is no such run, or it is a bundle.
        CheckpointError: it is not a run.
    """
    from cbalign.api.opening import find_model
    from cbalign.engine.run import open_run
    from cbalign.runtime.bundle import is_bundle

    path = find_model(run)
    if is_bundle(path):
        raise UsageError(f"{path} is not a run: it is an exported bundle", remedy="Name the run that it was made from.")
    return open_run(path).folder
