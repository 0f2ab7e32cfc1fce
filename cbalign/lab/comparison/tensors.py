"""List the tensors of models without a record, in a subprocess that may import torch; results are cached."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import cbalign
from cbalign.experiment.derived import Known
from cbalign.experiment.dump import as_data
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import every, leaves
from cbalign.experiment.tensors import TensorTable
from cbalign.parts.section import Effect
from cbalign.runtime.user_cache import user_cache

FORMAT = 1  # of the cached files
TIMEOUT = 120  # seconds
NO_TORCH = "install cbalign[train] for tensor-level verdicts"
_BUILDER = "cbalign.lab.plan.tensors"
_LIBRARIES = ("timm", "transformers")


def with_tensors(
    experiments: Sequence[Experiment], known: Sequence[Known], report: Callable[[str], None] = lambda line: None
) -> list[Known]:
    """Add to `known` the tensors of each model, or the reason why they cannot be listed.

    Models whose tensors are neither recorded nor cached are built by one subprocess.

    Args:
        experiments: complete specs.
        known: facts about each experiment.
        report: called with a message before work that takes seconds.
    """
    requests = [None if k.tensors is not None else _Request.of(x, k) for x, k in zip(experiments, known)]
    missing = {request.key: request for request in requests if request is not None}
    found: dict[str, TensorTable | str] = {
        key: table for key, request in missing.items() if (table := request.cached()) is not None
    }
    if left := [request for key, request in missing.items() if key not in found]:
        found |= zip((request.key for request in left), _built(left, report))
    return [k if r is None else r.complete(k, found[r.key]) for k, r in zip(known, requests)]


@dataclass(frozen=True)
class _Request:
    """A model to build; `key` is a fingerprint of everything that its tensors depend on."""

    experiment: Experiment
    vocabulary: int | None  # None: that of the text architecture
    assumed: bool  # whether the vocabulary is the largest possible, because the real size is unknown
    key: str

    @classmethod
    def of(cls, experiment: Experiment, known: Known) -> Self:
        largest = experiment.model.text.largest_vocabulary
        assumed = known.vocabulary is None and largest is not None
        vocabulary = largest if assumed else known.vocabulary
        return cls(experiment, vocabulary, assumed, _key(experiment, vocabulary))

    @property
    def file(self) -> Path:
        return user_cache("tensors") / f"{self.key}.json"

    def cached(self) -> TensorTable | None:
        """Read the table from the user's cache; None if it is missing or damaged."""
        try:
            return TensorTable.from_json(json.loads(self.file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def keep(self, table: object) -> None:
        """Write a table to the cache atomically; failures are ignored."""
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.file.parent, suffix=".tmp")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(table, file, separators=(",", ":"))
                os.replace(name, self.file)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise

    def complete(self, known: Known, found: TensorTable | str) -> Known:
        """Add the result to `known`."""
        if isinstance(found, str):
            return replace(known, no_tensors=found)
        return replace(known, tensors=found, largest_vocabulary=self.vocabulary if self.assumed else None)


def _key(experiment: Experiment, vocabulary: int | None) -> str:
    shaping = shaping_settings(experiment)
    values = {
        "format": FORMAT,
        "settings": shaping,
        "files": _configurations(shaping),
        "vocabulary": vocabulary,
        "software": _software(),
    }
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def shaping_settings(experiment: Experiment) -> dict[str, object]:
    """Return the settings that determine the tensors: those of effect `architecture`, and switches with that effect."""
    switches = {found.path for found in every(Experiment) if found.setting.switch is Effect.ARCHITECTURE}
    return {
        path: value if effect is Effect.ARCHITECTURE else value != 0
        for path, value, effect in leaves(experiment)
        if effect is Effect.ARCHITECTURE or path in switches
    }


def _configurations(shaping: Mapping[str, object]) -> dict[str, list[object]]:
    """Return path, size and modification time of configuration files in folders that settings name."""
    found: dict[str, list[object]] = {}
    for path, value in shaping.items():
        file = Path(value, "config.json") if isinstance(value, str) else None
        if file is not None and file.is_file():
            stat = file.stat()
            found[path] = [str(file.absolute()), stat.st_size, stat.st_mtime_ns]
    return found


@cache
def _software() -> dict[str, object]:
    """Return the versions of the software that builds a model: cbalign and its sources, libraries, installed parts."""
    points = metadata.entry_points()
    groups = [points.select(group=group) for group in points.groups if group.startswith("cbalign.")]
    parts = {f"{point.dist.name} {point.dist.version}" for group in groups for point in group if point.dist}
    source = max(path.stat().st_mtime_ns for path in Path(cbalign.__file__).parent.rglob("*.py"))
    libraries = {name: _version(name) for name in _LIBRARIES}
    return {"cbalign": cbalign.__version__, "source": source, **libraries, "parts": sorted(parts)}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _built(requests: Sequence[_Request], report: Callable[[str], None]) -> list[TensorTable | str]:
    """Build models in one subprocess; return the tensor table of each, or the reason why it cannot be built."""
    if find_spec("torch") is None:
        return [NO_TORCH] * len(requests)
    report(f"listing the tensors of {len(requests)} model{'s' * (len(requests) > 1)} (cached for the next time)")
    asked = json.dumps([{"experiment": as_data(r.experiment), "vocabulary": r.vocabulary} for r in requests])
    try:
        answers = _ask(asked, len(requests))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return [_reason(error)] * len(requests)
    return [_table(request, answer) for request, answer in zip(requests, answers)]


def _ask(asked: str, count: int) -> list[Mapping[str, Any]]:
    # Search the working directory for modules only if this process does.
    isolated = [] if "" in sys.path or os.getcwd() in sys.path else ["-P"]
    done = subprocess.run(
        [sys.executable, *isolated, "-m", _BUILDER],
        input=asked,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    answers = json.loads(done.stdout)
    if not isinstance(answers, list) or len(answers) != count or not all(isinstance(a, dict) for a in answers):
        raise ValueError("the number of answers differs from that of the requests")
    return answers


def _table(request: _Request, answer: Mapping[str, Any]) -> TensorTable | str:
    if "error" in answer:
        return str(answer["error"])
    try:
        table = TensorTable.from_json(answer.get("tensors"))
    except ValueError as error:
        return _reason(error)
    request.keep(answer["tensors"])
    return table


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"building the model took more than {TIMEOUT} seconds"
    if isinstance(error, subprocess.CalledProcessError):
        lines = str(error.stderr or "").strip().splitlines()
        return f"the process that builds the model failed: {lines[-1] if lines else f'exit code {error.returncode}'}"
    return f"the process that builds the model failed: {error}"
