"""Published results for comparison, with the differences between the protocols.

Only figures that were read in the publication itself are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cbalign.evaluation.base import PublishedProtocol, Result


@dataclass(frozen=True)
class Figures:
    """Published numbers in per cent, by their names in results."""

    method: str
    source: str
    protocol: PublishedProtocol
    values: Mapping[str, float]


@dataclass(frozen=True)
class PublishedComparison:
    """A published number compared with the measured one."""

    figure: str  # `CODIS, NLVR2 dev, accuracy`
    published: float
    measured: float
    source: str
    differs: tuple[str, ...]  # differences between the protocols; empty if they are the same

    def __str__(self) -> str:
        line = f"published {self.figure}: {self.published:.2f}; here {self.measured:.2f}"
        return f"{line}; the protocol differs: {'; '.join(self.differs)}" if self.differs else line


@dataclass(frozen=True)
class MeasuredModel:
    """What a comparison needs to know about the measured model.

    Attributes:
        fine_tuned_on: data sets that it was fine-tuned on; empty if it was only pretrained, None if unknown.
        max_tokens: length at which its texts are cut.
    """

    fine_tuned_on: tuple[str, ...] | None
    max_tokens: int


_CODIS = "CODIS (CVPR 2022), results page"
_TEXT, _IMAGE = "rerank/image_to_text/r1", "rerank/text_to_image/r1"
_NAMES = {"coco": "COCO", "flickr30k": "Flickr30k", "nlvr2": "NLVR2", "vg": "Visual Genome"}
_TITLES = {_TEXT: "text R@1", _IMAGE: "image R@1"}

PUBLISHED = (
    Figures(
        "CODIS",
        _CODIS,
        PublishedProtocol(
            "flickr30k",
            "test",
            "Flickr30k 1K zero-shot",
            "rerank",
            {"images": 1000, "texts": 5000},
            max_tokens=30,
            top_k=128,
            zero_shot=True,
            fine_tuned_on=("coco",),  # as is usual
        ),
        {_TEXT: 91.7, _IMAGE: 79.7},
    ),
    Figures(
        "CODIS",
        _CODIS,
        # Called zero-shot, though pretraining saw COCO's training images.
        PublishedProtocol(
            "coco",
            "test",
            "COCO 5K zero-shot",
            "rerank",
            {"images": 5000, "texts": 25010},
            image_size=None,
            max_tokens=30,
            top_k=256,
            fine_tuned_on=(),
        ),
        {_TEXT: 71.5, _IMAGE: 53.9},
    ),
    Figures(
        "CODIS",
        _CODIS,
        PublishedProtocol("nlvr2", "validation", "NLVR2 dev", "accuracy", {"items": 6982}),
        {"accuracy": 80.50},
    ),
    Figures(
        "CODIS",
        _CODIS,
        PublishedProtocol("nlvr2", "test", "NLVR2 test-P", "accuracy", {"items": 6967}),
        {"accuracy": 80.84},
    ),
    Figures(
        "CODIS",
        _CODIS,
        PublishedProtocol("flickr30k", "validation", "SNLI-VE val", "accuracy", {"items": 17858}),
        {"accuracy": 80.5},
    ),
    Figures(
        "CODIS",
        _CODIS,
        # VQA v2 counts as COCO, whose images it uses; no other task on COCO has the protocol `rank`.
        PublishedProtocol(
            "coco", "validation", "VQA v2 test-dev", "rank", top_k=128, secret=True, fine_tuned_on=("coco", "vg")
        ),
        {"accuracy": 73.15},
    ),
    Figures(
        "CODIS",
        _CODIS,
        PublishedProtocol("flickr30k", "test", "SNLI-VE test", "accuracy", {"items": 17901}),
        {"accuracy": 80.4},
    ),
)


def compare_with_published(
    result: Result, split: str, data_sets: Sequence[str], model: MeasuredModel
) -> tuple[PublishedComparison, ...]:
    """Compare a result with the published figures of the same protocol on the same data set and split.

    Args:
        result: the measured result.
        split: `validation` or `test` of the spec.
        data_sets: names of the data sets of the evaluation.
        model: the measured model.
    """
    return tuple(
        each
        for figures in PUBLISHED
        if tuple(data_sets) == (figures.protocol.data_set,)
        and split == figures.protocol.split
        and result.protocol == figures.protocol.name
        for each in _compare(result, figures, model)
    )


def _compare(result: Result, figures: Figures, model: MeasuredModel) -> Iterator[PublishedComparison]:
    measured = result.flat()
    differs = (*_differences(result, figures.protocol), *_differences_of_models(model, figures.protocol))
    for name, value in figures.values.items():
        if name in measured:
            title = f"{figures.method}, {figures.protocol.title}, {_TITLES.get(name, name)}"
            yield PublishedComparison(title, value, measured[name], figures.source, differs)


def _differences(result: Result, protocol: PublishedProtocol) -> Iterator[str]:
    for name, count in protocol.sizes.items():
        if getattr(result, name) != count:
            yield f"{getattr(result, name):,} {name}, published {count:,}"
    if protocol.image_size is None:
        yield f"{result.image_size} px, published at an unknown size"
    elif result.image_size != protocol.image_size:
        yield f"{result.image_size} px, published {protocol.image_size}"
    yield from result.differences(protocol)


def _differences_of_models(model: MeasuredModel, protocol: PublishedProtocol) -> Iterator[str]:
    if protocol.max_tokens is not None and model.max_tokens != protocol.max_tokens:
        yield f"texts cut at {model.max_tokens} tokens, published at {protocol.max_tokens}"
    mine = model.fine_tuned_on
    theirs = (protocol.data_set,) if protocol.fine_tuned_on is None else protocol.fine_tuned_on
    if mine is None:
        yield f"a model of unknown training data, published {_tuning(theirs)}"
    elif set(mine) != set(theirs):
        yield f"{_tuning(mine)}, published {_tuning(theirs)}"


def _tuning(data_sets: Sequence[str]) -> str:
    names = [_NAMES.get(name, name) for name in data_sets]
    return f"fine-tuned on {' and '.join(names)}" if names else "not fine-tuned"
