"""Results in the JSON forms of CLIP_benchmark and MTEB, as far as these have them.

CLIP_benchmark writes one object per model, data set and task: `dataset`, `model`, `pretrained`, `task`, `metrics`,
`language`. MTEB's `TaskResult` has `task_name`, `dataset_revision`, `mteb_version`, `evaluation_time` and, by split, a
list of `scores` with `main_score`, `hf_subset` and `languages`. Both count from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cbalign.errors import UsageError
from cbalign.evaluation.base import Result
from cbalign.evaluation.result import EvaluationDocument
from cbalign.runtime.document import json_line

_LANGUAGE, _LANGUAGE_WITH_SCRIPT = "en", "eng-Latn"  # that of all data sets with published figures
_MTEB_NAMES = {"flickr30k": "Flickr30k", "coco": "MSCOCO", "sugarcrepe": "SugarCrepe", "winoground": "Winoground"}
_K = (1, 5, 10)

_Names = Mapping[str, tuple[str, str]]
"""The task and the name there of each of our metrics, without its protocol."""

_CLIP_BENCHMARK: _Names = {
    **{f"text_to_image/r{k}": ("zeroshot_retrieval", f"image_retrieval_recall@{k}") for k in _K},
    **{f"image_to_text/r{k}": ("zeroshot_retrieval", f"text_retrieval_recall@{k}") for k in _K},
    "zero_shot/accuracy": ("zeroshot_classification", "acc1"),
    "zero_shot/top5": ("zeroshot_classification", "acc5"),
    "zero_shot/mean_per_class": ("zeroshot_classification", "mean_per_class_recall"),
    "probe/accuracy": ("linear_probe", "lp_acc1"),
    "probe/mean_per_class": ("linear_probe", "lp_mean_per_class_recall"),
    "compositional/accuracy": ("image_caption_selection", "acc"),
    "compositional/group": ("image_caption_selection", "acc"),
    "compositional/text": ("image_caption_selection", "text_acc"),
    "compositional/image": ("image_caption_selection", "image_acc"),
}

_MTEB: _Names = {
    **{f"text_to_image/r{k}": ("T2IRetrieval", f"cv_recall_at_{k}") for k in _K},
    **{f"image_to_text/r{k}": ("I2TRetrieval", f"cv_recall_at_{k}") for k in _K},
    "zero_shot/accuracy": ("ZeroShot", "accuracy"),
    "compositional/accuracy": ("", "accuracy"),
    "compositional/group": ("", "accuracy"),
    "compositional/text": ("", "text_acc"),
    "compositional/image": ("", "image_acc"),
}


@dataclass(frozen=True)
class _Measured:
    """The scores of one task: shares by their names there, the first is the main one."""

    document: EvaluationDocument
    result: Result
    data_set: str
    task: str
    scores: Mapping[str, float]

    @property
    def model(self) -> str:
        """The model with the protocol, unless that is the cosine, which both formats mean."""
        name = Path(self.document.subject).name
        protocol = self.result.protocol_name
        return name if protocol.endswith("dual") else f"{name} ({protocol})"


def _clip_benchmark(measured: _Measured) -> dict[str, object]:
    step = measured.document.step
    return {
        "dataset": measured.data_set,
        "model": measured.model,
        "pretrained": "" if step is None else f"step-{step}",
        "task": measured.task,
        "metrics": dict(measured.scores),
        "language": _LANGUAGE,
    }


def _mteb(measured: _Measured) -> dict[str, object]:
    scores = {
        **measured.scores,
        "main_score": next(iter(measured.scores.values())),
        "hf_subset": "default",
        "languages": [_LANGUAGE_WITH_SCRIPT],
    }
    return {
        "dataset_revision": measured.result.gallery,
        "task_name": f"{_MTEB_NAMES.get(measured.data_set, measured.data_set)}{measured.task}",
        "mteb_version": None,
        "scores": {measured.result.split: [scores]},
        "evaluation_time": None,
        "kg_co2_emissions": None,
    }


@dataclass(frozen=True)
class _Format:
    names: _Names
    document: Callable[[_Measured], dict[str, object]]


_FORMATS = {"clip_benchmark": _Format(_CLIP_BENCHMARK, _clip_benchmark), "mteb": _Format(_MTEB, _mteb)}

FORMAT_NAMES = tuple(_FORMATS)
"""Names of the formats."""


def benchmark_files(document: EvaluationDocument, data_sets: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the files of a format, by file name; results that the format does not have are left out.

    Args:
        document: the results.
        data_sets: the name of the data set of each split of the results.
        name: one of `FORMAT_NAMES`.

    Raises:
        UsageError: there is no such format, or it has none of the results.
    """
    if name not in _FORMATS:
        raise UsageError(f"`export={name}`: no such format", remedy=f"The formats are {', '.join(FORMAT_NAMES)}.")
    form = _FORMATS[name]
    files = {}
    for result in document.results:
        for task, scores in _by_task(result, form.names):
            measured = _Measured(document, result, data_sets[result.split], task, scores)
            words = [result.split, result.protocol_name.replace(" ", "-"), *([task] if task else [])]
            files[f"{'-'.join(words)}.json"] = json_line(form.document(measured))
    if not files:
        raise UsageError(
            f"`export={name}`: {name} has no form for these results",
            remedy="It has retrieval, zero-shot classification and compositional foils.",
        )
    return files


def _by_task(result: Result, names: _Names) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the scores of each task that a format has for a result."""
    tasks: dict[str, dict[str, float]] = {}
    for name, value in result.flat().items():
        known = names.get(_without_protocol(name))
        if known is not None:
            tasks.setdefault(known[0], {})[known[1]] = value / 100
    yield from tasks.items()


def _without_protocol(name: str) -> str:
    """`text_to_image/r1` of `dual/text_to_image/r1`, and `zero_shot/accuracy` of `zero_shot/dual/accuracy`."""
    first, _, rest = name.partition("/")
    second, _, last = rest.partition("/")
    return f"{first}/{last}" if f"{first}/{last}" in _CLIP_BENCHMARK else f"{second}/{last}"
