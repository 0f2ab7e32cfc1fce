"""What a training reads and writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cbalign.data.published import is_packaged
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import Leaf, settings
from cbalign.experiment.load import LoadedExperiment
from cbalign.parts.section import Section


@dataclass(frozen=True)
class ReadFile:
    """A file or folder that the training reads, and whether it is on this machine."""

    path: str
    what: str
    here: bool


def files_written(experiment: Experiment) -> tuple[str, ...]:
    """What a run directory will hold, line by line."""
    trackers = [tracker.writes for tracker in experiment.log.to if tracker.writes is not None]
    return (
        "spec.yaml, resolved.yaml, manifest.json",
        ", ".join(["metrics.jsonl", *trackers]),
        "assets/ (tokenizer)",
        "checkpoints/step-N/ (weights, moments, counters)",
        "evaluation/",
    )


def files_read(loaded: LoadedExperiment) -> list[ReadFile]:
    """Specs, data and initial weights, in this order; names on a hub count as not here."""
    specs = [ReadFile(str(path), "spec", True) for path in loaded.files]
    return [*specs, *_data(loaded.experiment), *_weights(loaded.experiment)]


def _data(experiment: Experiment) -> Iterator[ReadFile]:
    for split in ("train", "validation", "test"):
        section = getattr(experiment.data, split)
        if section is None:
            continue
        found = list(_paths(section))
        for path in found:
            yield ReadFile(_shown(path), f"{split} data", Path(path).exists())
        if not found:
            yield ReadFile(section.source, f"{split} data, built in", True)


def _paths(section: Section) -> Iterator[str]:
    for name, setting in settings(type(section)).items():
        if setting.path_kind and isinstance(setting.shape, Leaf):
            value = getattr(section, name)
            yield from (path for path in (value if isinstance(value, tuple) else (value,)) if path is not None)


def _weights(experiment: Experiment) -> Iterator[ReadFile]:
    vision, text = experiment.model.vision, experiment.model.text
    if experiment.init is not None:
        path = experiment.init.run or experiment.init.checkpoint or ""
        yield ReadFile(_shown(path), "model to start from, tokenizer", Path(path).exists())
        return
    if (images := vision.weights_source) is not None:
        yield ReadFile(images.label, "initial weights", _is_here(images.path))
    words, tokenizer = text.weights_source, text.tokenizer_settings().pretrained
    if words is not None:
        what = "initial weights, tokenizer" if words.model == tokenizer else "initial weights"
        yield ReadFile(words.label, what, _is_here(words.path))
    if (layers := experiment.model.fusion.weights_source) is not None:
        yield ReadFile(layers.label, "initial weights of fusion layers", _is_here(layers.path))
    if tokenizer is not None and (words is None or words.model != tokenizer):
        yield ReadFile(tokenizer, "tokenizer", _is_here(tokenizer))


def _is_here(path: str | None) -> bool:
    return path is not None and (Path(path).exists() or is_packaged(path))


def _shown(path: str) -> str:
    """A path whose variable is not set starts with it."""
    return path[path.index("$") :] if "/$" in path else path
