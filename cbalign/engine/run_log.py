"""Write the manifest and the metrics of a run while it trains."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any, Self

from cbalign.engine.distribution import World
from cbalign.engine.manifest import PLUGINS, AcceptedChanges, Manifest, Status
from cbalign.engine.metrics_file import MetricsFile
from cbalign.engine.precision import Precision
from cbalign.engine.provenance import describe_attempt
from cbalign.engine.run import RunFolder
from cbalign.engine.tracker import OptionalTracker, Record, RunInfo, Tracker
from cbalign.errors import CbalignError, DivergenceError, Interrupted
from cbalign.experiment.document import SourceText, plain_data
from cbalign.experiment.environment import interpolate
from cbalign.experiment.log import LogSection
from cbalign.experiment.reader import read_node
from cbalign.parts.metrics import Criterion, matching


class RunLog:
    """The manifest and the metrics of one run, written by the main process; a context that closes them.

    Every process calls every method; return values are those of the main process.

    Args:
        run: the run.
        world: the process group.
        section: which trackers get the metrics.
        warn: called with a line when a tracker fails.

    Raises:
        StorageError: a file cannot be written.
        CheckpointError: the manifest is damaged.
    """

    def __init__(self, run: RunFolder, world: World, section: LogSection, warn: Callable[[str], None]) -> None:
        self._run, self._world, self._section, self._warn = run, world, section, warn
        self._stack = ExitStack()
        self._metrics: MetricsFile | None = None
        self._trackers: list[Tracker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def precision(self) -> Precision | None:
        """The precision of the first attempt, if there was one."""
        return self._world.share(Manifest.read(self._run.manifest).precision if self._world.is_main else None)

    def resume(self, done: int) -> None:
        """Open the metrics for what follows the first `done` steps."""
        if not self._world.is_main:
            return
        self._metrics = MetricsFile(self._run.metrics, done)
        self._trackers = [self._metrics]
        self._stack.callback(self._metrics.close)
        if self._section.to:
            info = self._info(done)
            for section in self._section.to:
                tracker = OptionalTracker(section, info, self._warn)
                self._trackers.append(tracker)
                self._stack.callback(tracker.close)

    def _info(self, done: int) -> RunInfo:
        manifest = Manifest.read(self._run.manifest)
        resumed = bool(manifest.attempts)
        return RunInfo(self._run.folder, manifest.name, manifest.id, read_plain(self._run), done, resumed)

    def begin(
        self, *, from_step: int, argv: tuple[str, ...], precision: Precision, accepted: AcceptedChanges | None = None
    ) -> None:
        """Add this process to the manifest's attempts, and record the changes that the user accepted."""
        if not self._world.is_main:
            return
        manifest = Manifest.read(self._run.manifest)
        plugins = manifest.facts.get(PLUGINS)
        attempt = describe_attempt(
            from_step=from_step,
            argv=argv,
            device=self._world.device,
            precision=precision,
            processes=self._world.size,
            plugins=tuple(plugins) if isinstance(plugins, Mapping) else (),
        )
        if accepted is not None:
            manifest = manifest.accept(accepted)
            attempt = replace(attempt, accepted=accepted.changes)
        manifest.begin(attempt).write(self._run.manifest)

    def end(self, status: Status, *, step: int, message: str = "", metrics: Mapping[str, float] | None = None) -> None:
        """Record how the training ended."""
        if self._world.is_main:
            manifest = Manifest.read(self._run.manifest)
            manifest.end(status, step=step, message=message, metrics=metrics or {}).write(self._run.manifest)

    @contextmanager
    def record_failure(self, step: Callable[[], int]) -> Iterator[None]:
        """Record in the manifest how the training ended if an exception ends it.

        Args:
            step: returns the number of completed steps.
        """
        try:
            yield
        except Interrupted as stop:
            self.end("interrupted", step=step(), message=stop.message)
            raise
        except DivergenceError as error:
            self.end("diverged", step=step(), message=error.message)
            raise
        except BaseException as error:
            with suppress(CbalignError):  # a full disk must not hide what happened
                self.end("failed", step=step(), message=str(error) or type(error).__name__)
            raise

    def log(self, record: Record) -> None:
        """Write metrics to `metrics.jsonl` and to the trackers."""
        for tracker in self._trackers:
            tracker.log(record)

    def evaluation(self, step: int) -> Mapping[str, float]:
        """The metrics of the evaluation after `step` steps; empty if there is none."""
        return self._world.share(self._metrics.evaluation(step) if self._metrics is not None else {})

    def best(self, word: str, steps: Collection[int]) -> int | None:
        """The step among `steps` with the best evaluation; None if none of them was evaluated by such a metric.

        Args:
            word: the metric, see `cbalign.parts.metrics.Criterion`.
            steps: numbers of completed steps.
        """
        found = None
        if self._metrics is not None:
            made = {step: values for step, values in self._metrics.evaluations.items() if step in steps}
            names = dict.fromkeys(name for values in made.values() for name in values)
            if matching(names, word):
                found = Criterion.of(word, names).best(made)
        return self._world.share(None if found is None else found[0])

    def sync(self) -> None:
        """Sync the metrics to disk, so that no checkpoint is ahead of its lines after a power cut."""
        if self._metrics is not None:
            self._metrics.sync()


def read_plain(run: RunFolder) -> Mapping[str, Any]:
    """The resolved spec of a run as plain data."""
    text = run.resolved.read_text(encoding="utf-8")
    node = read_node(SourceText(str(run.resolved), text, run.resolved))
    data = plain_data(interpolate(node, {}, [])) if node is not None else None
    return data if isinstance(data, dict) else {}
