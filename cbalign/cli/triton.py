"""Triton model repositories, for `cbalign export --triton`."""

from __future__ import annotations

from pathlib import Path

from cbalign.cli import console


def prepare(target: Path, repository: Path | None) -> None:
    """Check the arguments before anything is exported.

    Raises:
        UsageError: a bundle without --triton, a repository that already exists, or a run whose model does not
            encode images and texts.
    """
    from cbalign.errors import UsageError
    from cbalign.runtime.bundle import is_bundle

    if repository is None:
        if is_bundle(target):
            raise UsageError(f"{target} is already a bundle", remedy="Add --triton DIR to write a Triton repository.")
        return
    from cbalign.apps.serving.triton import require_new
    from cbalign.engine.run import open_run
    from cbalign.experiment.load import load_experiment

    require_new(repository)
    if is_bundle(target):
        return
    task = load_experiment(open_run(target).resolved, check_files=False).experiment.task
    if task.items != "pairs":
        raise UsageError(
            f"--triton: the task of {target} is {task.kind}; Triton repositories exist for pretraining and retrieval",
            remedy="Omit --triton.",
        )


def write(bundle: Path, repository: Path | None, precision: str | None = None, *, as_json: bool | None = None) -> None:
    """Write the repository and report it on stderr; if `as_json` is given, also on stdout, as JSON or text."""
    from cbalign.apps.serving.triton import write_triton

    assert repository is not None
    models = write_triton(bundle, repository, precision)
    console.note(f"Triton models: {', '.join(models)}")
    console.note(f"next: tritonserver --model-repository {repository.resolve()}")
    if as_json:
        console.document({"repository": str(repository), "models": models})
    elif as_json is not None:
        console.result(str(repository))
