"""The part of `cbalign export` that is about Triton."""

from __future__ import annotations

from pathlib import Path

from cbalign.cli import console


def prepare(target: Path, repository: Path | None) -> None:
    """Refuse what cannot end well before anything is exported.

    Raises:
        UsageError: a bundle without --triton, a repository that is there already, or a run whose model embeds no
            images and texts.
    """
    from cbalign.errors import UsageError
    from cbalign.runtime.bundle import is_bundle

    if repository is None:
        if is_bundle(target):
            raise UsageError(
                f"{target} is a bundle already", remedy="Add --triton DIR to make a Triton repository of it."
            )
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
            f"--triton: {target} is of the task {task.kind}; Triton serves models of pretraining and retrieval",
            remedy="Leave --triton out.",
        )


def write(bundle: Path, repository: Path | None, precision: str | None = None, *, as_json: bool | None = None) -> None:
    """Write the repository and say so; on stdout when it is all that was asked for (`as_json` says in which form)."""
    from cbalign.apps.serving.triton import write_triton

    assert repository is not None
    models = write_triton(bundle, repository, precision)
    console.note(f"Triton models: {', '.join(models)}")
    console.note(f"next: tritonserver --model-repository {repository.resolve()}")
    if as_json:
        console.document({"repository": str(repository), "models": models})
    elif as_json is not None:
        console.result(str(repository))
