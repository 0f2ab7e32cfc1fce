"""The part of `cbalign export` that is about Triton."""

from __future__ import annotations

from pathlib import Path

from cbalign.cli import console


def prepare(target: Path, repository: Path | None) -> None:
    """Refuse what cannot end well before anything is exported.

    Raises:
        UsageError: a bundle without --triton, or a repository that is there already.
    """
    from cbalign.errors import UsageError
    from cbalign.runtime.bundle import is_bundle

    if repository is None:
        if is_bundle(target):
            raise UsageError(
                f"{target} is a bundle already", remedy="Add --triton DIR to make a Triton repository of it."
            )
        return
    from cbalign.serving.triton import require_new

    require_new(repository)


def write(bundle: Path, repository: Path | None, *, as_json: bool | None = None) -> None:
    """Write the repository and say so; on stdout when it is all that was asked for (`as_json` says in which form)."""
    from cbalign.serving.triton import write_triton

    assert repository is not None
    models = write_triton(bundle, repository)
    console.note(f"Triton models: {', '.join(models)}")
    console.note(f"next: tritonserver --model-repository {repository.resolve()}")
    if as_json:
        console.document({"repository": str(repository), "models": models})
    elif as_json is not None:
        console.result(str(repository))
