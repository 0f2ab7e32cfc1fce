"""Train an experiment in a new run, or resume a run."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbalign.engine.checkpoint_folder import latest_checkpoint
from cbalign.engine.distribution import World, open_world
from cbalign.engine.files import shown_path
from cbalign.engine.launch import is_launched
from cbalign.engine.loop import fit
from cbalign.engine.manifest import PLUGINS, Manifest
from cbalign.engine.reporter import Reporter, Silent
from cbalign.engine.resuming import resume_command
from cbalign.engine.run import RunFolder, create_run
from cbalign.engine.task import Training
from cbalign.errors import UsageError
from cbalign.experiment.diff import compare_experiments
from cbalign.experiment.dump import counted_settings, dump_yaml, experiment_fingerprint, inline
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.load import LoadedExperiment, load_experiment
from cbalign.experiment.requirements import plugins
from cbalign.experiment.tensors import TENSORS
from cbalign.models.preprocessing import preprocessing_of
from cbalign.models.recorded import tensor_table
from cbalign.parts.section import Effect
from cbalign.tasks.changes import accept_changes, changed_data, changed_settings
from cbalign.tasks.initialisation import Initialisation, Notice, pinned, with_preprocessing
from cbalign.tasks.kit import kit_of


@dataclass(frozen=True)
class Trained:
    """A run that is finished."""

    run: RunFolder
    experiment: Experiment
    metrics: Mapping[str, float]  # of the last evaluation
    seconds: float | None  # that this call trained for; None if the run was finished before
    is_main: bool = True  # whether this process is the one that prints


def open_training(
    experiment: Experiment, world: World, *, assets: Path | None = None, notice: Notice = lambda line: None
) -> Training[Any]:
    """Open the data of an experiment and build its learner.

    Args:
        experiment: a complete spec.
        world: the processes that train together, and this one's device.
        assets: assets of the checkpoint to resume from; see `Initialisation`.
        notice: shows messages, such as what was loaded of the model that `init` names.

    Raises:
        CbalignError: see `Initialisation.of` and `TaskKit.open_training`.
    """
    return kit_of(experiment).open_training(Initialisation.of(experiment, assets, notice), world)


def train_experiment(
    loaded: LoadedExperiment,
    runs: str | Path,
    reporter: Reporter,
    *,
    argv: Sequence[str] = (),
    rerun_of: str | None = None,
) -> Trained:
    """Train an experiment in a new run directory.

    Args:
        loaded: the spec.
        runs: the folder of runs.
        reporter: where progress is shown.
        argv: the command, for the manifest.
        rerun_of: name of the run that it repeats.

    Raises:
        CbalignError: whatever `fit` and `open_training` raise; the run is created after the model is built.
    """
    experiment = pinned(loaded.experiment)
    with _world(experiment) as world, _notices(reporter, world) as shown:
        shown.note(f"preparing {experiment.name} on {world.device}")
        training = open_training(experiment, world, notice=shown.note)
        experiment = with_preprocessing(experiment, preprocessing_of(training.learner.model))
        run = None
        if world.is_main:
            resolved = dump_yaml(experiment)
            run = create_run(
                runs,
                experiment.name,
                spec=loaded.path.read_text(encoding="utf-8") if loaded.path.is_file() else resolved,
                resolved=resolved,
                fingerprint=experiment_fingerprint(experiment),
                settings=counted_settings(experiment),
                facts={
                    **training.describe(),
                    TENSORS: tensor_table(training.learner.model).to_json(),
                    **_plugin_facts(experiment),
                },
                rerun_of=rerun_of,
            )
            training.save_assets(run.assets)
        run = world.share(run)
        assert run is not None, "the main process made it"
        shown.note(f"run {shown_path(run.folder)}")
        command = resume_command(run, processes=world.size if is_launched() else 1)
        outcome = fit(
            training,
            experiment.train,
            run,
            world,
            shown,
            log=experiment.log,
            argv=tuple(argv),
            resume_command=command,
        )
        return Trained(run, experiment, outcome.metrics, outcome.seconds, world.is_main)


def resume_run(
    run: RunFolder,
    overrides: Sequence[str],
    reporter: Reporter,
    *,
    argv: Sequence[str] = (),
    accept: bool = False,
) -> Trained:
    """Resume a run from its newest checkpoint; a finished run is returned unchanged.

    Args:
        run: the run.
        overrides: `path=value` for settings of effect `runtime`, for this process only.
        reporter: where progress is shown.
        argv: the command, for the manifest.
        accept: train on although settings or data changed since the run began; the manifest records the changes.

    Raises:
        UsageError: an override would make it another training, or settings or data changed.
        CbalignError: whatever `fit` and `open_training` raise.
    """
    started = latest_checkpoint(run.checkpoints) is not None
    # The initial model may no longer exist once the run has its own checkpoint.
    begun = load_experiment(run.resolved, check_files=not started)
    changed = load_experiment(run.resolved, overrides, check_files=not started) if overrides else begun
    _refuse_other_training(run, begun, changed)
    experiment = changed.experiment
    manifest = Manifest.read(run.manifest)
    if manifest.status == "finished":
        return Trained(run, experiment, manifest.metrics, None)
    changes = changed_settings(manifest, begun.experiment)
    if changes and not accept:  # before the data are opened
        accept_changes(run, begun.experiment, {}, changes, accept=False)
    with _world(experiment) as world, _notices(reporter, world) as shown:
        shown.note(f"preparing {experiment.name} on {world.device}")
        training = open_training(experiment, world, assets=run.assets if started else None, notice=shown.note)
        facts = training.describe() if world.is_main else {}
        changes = world.share([*changes, *changed_data(manifest, facts)])
        accepted = accept_changes(run, begun.experiment, facts, changes, accept=accept)
        for change in accepted.changes if accepted is not None else ():
            shown.note(f"accepted change: {change}")
        if world.is_main and not started:
            training.save_assets(run.assets)
        command = resume_command(run, overrides, processes=world.size if is_launched() else 1)
        outcome = fit(
            training,
            experiment.train,
            run,
            world,
            shown,
            log=experiment.log,
            argv=tuple(argv),
            resume_command=command,
            accepted=accepted,
        )
        return Trained(run, experiment, outcome.metrics, outcome.seconds, world.is_main)


def _world(experiment: Experiment) -> AbstractContextManager[World]:
    return open_world(experiment.train.device, timeout=experiment.train.process_timeout)


def _plugin_facts(experiment: Experiment) -> dict[str, object]:
    found = plugins(experiment)
    return {PLUGINS: found} if found else {}


def _refuse_other_training(run: RunFolder, before: LoadedExperiment, after: LoadedExperiment) -> None:
    refused = compare_experiments([before, after]).keep(lambda difference: difference.effect is not Effect.RUNTIME)
    if refused.differences:
        lines = [
            f"  {d.path} ({d.effect.value}): {' → '.join('–' if c is None else inline(c.value) for c in d.cells)}"
            for d in refused.differences
        ]
        raise UsageError(
            f"{shown_path(run.folder)} cannot resume with other training settings.\n" + "\n".join(lines),
            remedy="Only settings of effect runtime can change on resume (device, workers, log_every, …); "
            f"for others start a new run: cbalign runs rerun {shlex.quote(str(shown_path(run.folder)))} --set …",
        )


@contextmanager
def _notices(reporter: Reporter, world: World) -> Iterator[Reporter]:
    """The main process's reporter, which also shows cbalign's log messages; silence in the others."""
    if not world.is_main:
        yield Silent()
        return
    handler = _ToReporter(reporter)
    log = logging.getLogger("cbalign")
    log.addHandler(handler)
    try:
        yield reporter
    finally:
        log.removeHandler(handler)


class _ToReporter(logging.Handler):
    """Shows log messages through the reporter, so that they do not break up the progress bar."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.WARNING)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        """Show one message."""
        self._reporter.note(record.getMessage())
