"""Training in Python, and runs as objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cbalign.api.specs import Spec, SpecSource
from cbalign.errors import UsageError

if TYPE_CHECKING:
    from cbalign.api.model import Model
    from cbalign.api.pairs import Pairs
    from cbalign.engine.reporter import Reporter
    from cbalign.engine.tracker import Record
    from cbalign.tasks.train import Trained

StepCallback = Callable[[Mapping[str, Any]], None]
"""Called with each log line and evaluation: `kind` (`train` or `evaluation`), `step`, `epoch` and the metrics."""


@dataclass(frozen=True)
class Run:
    """A run directory: one experiment, trained once.

    Args:
        path: the run directory.
        trained: what the call that made this object trained; None for a run that was only opened.
    """

    path: Path
    trained: Trained | None = field(default=None, repr=False, compare=False)

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
        from cbalign.engine.run import RunFolder, list_checkpoints

        return list_checkpoints(RunFolder(self.path).checkpoints)

    def history(self, kind: Literal["train", "evaluation"] | None = None) -> list[dict[str, Any]]:
        """The log lines as dicts: `kind`, `step`, `epoch` and the metrics. `pandas.DataFrame(run.history())` works.

        Args:
            kind: only lines of this kind.
        """
        from cbalign.engine.metrics_file import read_records
        from cbalign.engine.run import RunFolder

        records = read_records(RunFolder(self.path).metrics)
        return [_line(record) for record in records if kind in (None, record.kind)]

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
        lines = [f"Run {self.path} ({self.status})"]
        return "\n".join([*lines, *(f"  {name}: {value:.4g}" for name, value in self.metrics.items())])

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{escape(n)}</td><td>{v:.4g}</td></tr>" for n, v in self.metrics.items())
        return f"<table><caption>Run {escape(str(self.path))} ({escape(self.status)})</caption>{rows}</table>"


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
    argv: Sequence[str] = ("cbalign.train",),
    **changes: Any,
) -> Run:
    """Train an experiment in a new run directory, in this process.

    Args:
        source: the spec, as `cbalign.spec` takes it.
        data: pairs to train on instead of `data.train`: a list of (image, caption) pairs, a torch `Dataset` or a
            Hugging Face `Dataset`. They are not stored: give them to `cbalign.resume` and `cbalign.evaluate` again.
        validation: pairs in place of `data.validation`.
        test: pairs in place of `data.test`.
        runs: the folder of runs.
        on_step: called with each log line and evaluation, see `train.log_every` and `train.evaluate_every`.
        progress: whether to show a progress bar in a terminal or notebook, and lines elsewhere; or a `Reporter`.
        argv: the command that the run's manifest records.
        **changes: see `cbalign.spec`.

    Raises:
        SpecError: the spec is not valid.
        DataError: the data cannot be read.
        DivergenceError: the loss became infinite or NaN.
        Interrupted: Ctrl-C or a signal stopped the training after a checkpoint; `cbalign.resume` continues it.

    Examples:
        >>> run = cbalign.train("quickstart", **{"train.duration": "20 steps"}, on_step=print)
        >>> run.metrics
    """
    from cbalign.api.memory import with_data
    from cbalign.tasks.train import train_experiment

    loaded = with_data(source, changes, {"train": data, "validation": validation, "test": test}).loaded
    trained = train_experiment(loaded, Path(runs), _reporter(progress, on_step), argv=argv)
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
    overrides: Sequence[str] = (),
    argv: Sequence[str] = ("cbalign.resume",),
    **changes: Any,
) -> Run:
    """Continue a training from its newest checkpoint; a finished run is returned as it is.

    Args:
        run: a run directory, its name in `runs/`, or a `Run`.
        data: the training pairs that `cbalign.train` was given.
        validation: the validation pairs that it was given.
        test: the test pairs that it was given.
        on_step: see `cbalign.train`.
        progress: see `cbalign.train`.
        overrides: changes as texts of `--set`.
        argv: see `cbalign.train`.
        **changes: settings of effect `runtime`, by dotted path.

    Raises:
        UsageError: a change would make it another training, or the pairs are not those of the run.
        CheckpointError: it is not a run, or its checkpoint is damaged.
    """
    from cbalign.api.memory import give_again
    from cbalign.api.opening import find_model
    from cbalign.engine.run import open_run
    from cbalign.experiment.dump import inline
    from cbalign.runtime.bundle import is_bundle
    from cbalign.tasks.train import resume_run

    path = find_model(run)
    if is_bundle(path):
        raise UsageError(f"{path} is not a run: it is an exported bundle", remedy="Name the run that it was made from.")
    folders = open_run(path)
    given = {"train": data, "validation": validation, "test": test}
    if any(pairs is not None for pairs in given.values()):
        give_again(Run(folders.folder).spec, given)
    words = [*overrides, *(f"{path}={inline(value)}" for path, value in changes.items())]
    trained = resume_run(folders, words, _reporter(progress, on_step), argv=argv)
    return Run(trained.run.folder, trained)


def _reporter(progress: bool | Reporter, on_step: StepCallback | None) -> Reporter:
    from rich.console import Console

    from cbalign.engine.reporter import Silent, console_reporter

    console = Console(stderr=True)
    shown: Reporter = Silent()
    if progress is True:
        shown = console_reporter(console, interactive=console.is_terminal or console.is_jupyter)
    elif progress:
        shown = progress
    return shown if on_step is None else _Calling(shown, on_step)


class _Calling:
    """A reporter that also calls a function with every record."""

    def __init__(self, shown: Reporter, on_step: StepCallback) -> None:
        self._on_step = on_step
        self.start, self.advance, self.note, self.stop = shown.start, shown.advance, shown.note, shown.stop
        self._show = shown.record

    def record(self, record: Record) -> None:
        """Show the record and call the function."""
        self._show(record)
        self._on_step(_line(record))


def _line(record: Record) -> dict[str, Any]:
    return {"kind": record.kind, "step": record.step, "epoch": record.epoch, **record.values}
