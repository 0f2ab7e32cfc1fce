"""Results of `cbalign evaluate` in the folder of a run: found again by what they were measured with, never lost."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbalign.engine.files import storage_errors, write_durably
from cbalign.errors import DataError
from cbalign.evaluation.result import EvaluationDocument, file_name
from cbalign.experiment.fields import settings
from cbalign.parts import Effect, EvaluationSection, SourceSection
from cbalign.runtime.machine import installed

EARLIER = "earlier"  # folder of results that were replaced by those of other settings
_POSITION, _COUNT = "position", "results"  # of a result among those of its evaluation


@dataclass(frozen=True)
class StoredResults:
    """The stored results of one checkpoint on one backend.

    Args:
        folder: `evaluation/` of the run.
        step: of the checkpoint.
        backend: runtime and device, see `OpenedModel.backend`.
    """

    folder: Path
    step: int | None
    backend: str

    def find(
        self, section: EvaluationSection, data: SourceSection, contents: str, name: str
    ) -> tuple[EvaluationDocument, ...]:
        """Find the results of an evaluation, one document each, in their order; nothing if any of them is missing.

        Args:
            section: the settings of the evaluation.
            data: where the items are from.
            contents: fingerprint of the items.
            name: the split's name in results.
        """
        found = [
            document
            for document in self._documents()
            for result in document.results
            if result.split == name
            and _comparable(document.inputs) == inputs_of(section, data, contents, result.protocol)
        ]
        if (protocols := section.model_dump().get("protocols")) is not None:
            by_protocol = {document.results[0].protocol: document for document in found}
            return tuple(by_protocol[each] for each in protocols) if by_protocol.keys() >= set(protocols) else ()
        count = max((int(document.inputs[_COUNT]) for document in found), default=0)
        return tuple(sorted(found, key=lambda each: int(each.inputs[_POSITION]))) if len(found) == count else ()

    def keep(self, document: EvaluationDocument) -> None:
        """Write a document with one result; a result of other settings in its place is moved to `earlier/`.

        Raises:
            StorageError: it cannot be written.
        """
        (result,) = document.results
        path = self.folder / file_name(result, self.step)
        with storage_errors(self.folder):
            self.folder.mkdir(exist_ok=True)
            if path.exists() and _identity(_read(path)) != _identity(document):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
                (self.folder / EARLIER).mkdir(exist_ok=True)
                os.replace(path, self.folder / EARLIER / f"{path.stem}-{digest}.json")
        write_durably(path, document.to_json().encode())

    def _documents(self) -> Iterator[EvaluationDocument]:
        """Yield the documents of this checkpoint and backend that say what they were measured with."""
        for path in sorted(self.folder.glob("*.json")):
            document = _read(path)
            if document is None or not document.inputs or len(document.results) != 1:
                continue
            if (document.step, document.backend) == (self.step, self.backend):
                yield document


def inputs_of(section: EvaluationSection, data: SourceSection, contents: str, protocol: str) -> dict[str, Any]:
    """Return, as JSON values, all that decides a result of `protocol` besides the checkpoint and the backend."""
    measured = frozenset({protocol}) & section.measured or section.measured
    known = settings(type(section))
    chosen = {
        name: value
        for name, value in section.model_dump(mode="json").items()
        if known[name].effect is Effect.EVALUATION
        and name != "protocols"
        and (name == "bootstrap" or section.counts(name, measured))
    }
    files = {name: _state(Path(str(value))) for name, value in chosen.items() if value and known[name].path_kind}
    version = installed(("cbalign",)).get("cbalign")
    named = {"settings": chosen, "files": files, "data": data.model_dump(mode="json")}
    return {**named, "contents": contents, "cbalign": version}


def _state(path: Path) -> str:
    """A digest of a file that a setting names, or of the names and sizes of the files in a folder."""
    digest = hashlib.sha256()
    if path.is_file():
        digest.update(path.read_bytes())
    for file in sorted(path.rglob("*")):
        digest.update(f"{file.relative_to(path)} {file.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def with_position(inputs: Mapping[str, Any], position: int, count: int) -> dict[str, Any]:
    """Add which of the results of its evaluation a result is."""
    return {**inputs, _POSITION: position, _COUNT: count}


def _comparable(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name not in (_POSITION, _COUNT)}


def _identity(document: EvaluationDocument | None) -> object:
    return None if document is None else (document.backend, _comparable(document.inputs))


def _read(path: Path) -> EvaluationDocument | None:
    """The document in a file; None if it is damaged, of a newer version or none at all."""
    with suppress(DataError, OSError, UnicodeDecodeError):
        return EvaluationDocument.from_json(path.read_text(encoding="utf-8"), name=str(path))
    return None
