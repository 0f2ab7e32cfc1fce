"""The protocol of checkpoint formats, and the request of an import. Imports no torch."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cbalign.interop.checkpoints import formats

if TYPE_CHECKING:
    from cbalign.experiment.load import LoadedExperiment
    from cbalign.interop.checkpoints.prepared import Prepared

SPEC, TOKENIZER, HEADS, CONFIG = "spec", "tokenizer", "heads", "config"
"""Options that not every format has; see `cbalign.cli.import_`."""


@dataclass(frozen=True)
class ImportRequest:
    """What is to be imported, and what its files do not say.

    Args:
        source: a file, a folder or a name on the hub.
        name: of the experiment; None for the file's.
        loaded: the experiment that the run is to be of; None reads the model off the file.
        tokenizer: folder or name of the tokenizer; None for that of the checkpoint.
        config: file or name of the model's configuration; None for that of the checkpoint.
        image_heads, text_heads: attention heads, where the tensors' shapes leave them open.
    """

    source: str
    name: str | None = None
    loaded: LoadedExperiment | None = None
    tokenizer: str | None = None
    config: str | None = None
    image_heads: int | None = None
    text_heads: int | None = None


@dataclass(frozen=True)
class CheckpointFormat:
    """A format of published checkpoints.

    Args:
        name: of the subcommand of `cbalign import`.
        family: in messages, with article: "a checkpoint of CLIP".
        about: the help of the subcommand, whose first line is a sentence.
        reads: `module:function` that makes a model of a request and of an empty folder for temporary files; imported
            when it is used.
        recognises: whether tensors of these names are such a checkpoint.
        options: of `SPEC`, `TOKENIZER`, `HEADS` and `CONFIG`.
    """

    name: str
    family: str
    about: str
    reads: str
    recognises: Callable[[Collection[str]], bool]
    options: frozenset[str] = frozenset()

    def read(self, request: ImportRequest, scratch: Path) -> Prepared:
        """Make a model of a checkpoint. Nothing is written outside of `scratch`.

        Raises:
            CheckpointError: the file cannot be read or is not of this format.
        """
        module, _, function = self.reads.partition(":")
        return cast("Callable[[ImportRequest, Path], Prepared]", getattr(import_module(module), function))(
            request, scratch
        )


@cache
def checkpoint_formats() -> dict[str, CheckpointFormat]:
    """Return all formats by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(formats.__path__, f"{formats.__name__}."))
    found: list[CheckpointFormat] = [import_module(name).FORMAT for name in names]
    return {each.name: each for each in found}


def describe_other(names: Collection[str], source: str, wrong: str) -> str:
    """Say which format tensors look like, and the command to import them.

    Args:
        names: of the tensors.
        source: of the checkpoint.
        wrong: the format that it is not.

    Returns:
        An empty text if no other format recognises the names.
    """
    for each in checkpoint_formats().values():
        if each.name != wrong and each.recognises(names):
            return f"It looks like {each.family}: cbalign import {each.name} {source}"
    return ""
