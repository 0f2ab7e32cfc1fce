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


_CODIS = "CODIS (CVPR 2022), results page"
_TEXT, _IMAGE = "rerank/image_to_text/r1", "rerank/text_to_image/r1"
_TITLES = {_TEXT: "text R@1", _IMAGE: "image R@1"}

PUBLISHED = (
    Figures(
        "CODIS",
        _CODIS,
        # Measured, as is usual, with a model that was fine-tuned on COCO.
        PublishedProtocol(
            "flickr30k", "test", "Flickr30k 1K zero-shot", "rerank", {"images": 1000, "texts": 5000}, 384, 128, True
        ),
        {_TEXT: 91.7, _IMAGE: 79.7},
    ),
    Figures(
        "CODIS",
        _CODIS,
        # Called zero-shot, though pretraining saw COCO's training images.
        PublishedProtocol(
            "coco", "test", "COCO 5K zero-shot", "rerank", {"images": 5000, "texts": 25010}, None, 256, untuned=True
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
        PublishedProtocol("coco", "validation", "VQA v2 test-dev", "rank", {}, 384, 128, secret=True),
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
    result: Result, split: str, data_sets: Sequence[str], *, fine_tuned: bool
) -> tuple[PublishedComparison, ...]:
    """Compare a result with the published figures of the same protocol on the same data set and split.

    Args:
        result: the measured result.
        split: `validation` or `test` of the spec.
        data_sets: names of the data sets of the evaluation.
        fine_tuned: whether the model was fine-tuned, rather than only pretrained.
    """
    return tuple(
        each
        for figures in PUBLISHED
        if tuple(data_sets) == (figures.protocol.data_set,)
        and split == figures.protocol.split
        and result.protocol == figures.protocol.name
        for each in _compare(result, figures, fine_tuned)
    )


def _compare(result: Result, figures: Figures, fine_tuned: bool) -> Iterator[PublishedComparison]:
    measured = result.flat()
    differs = tuple(_differences(result, figures.protocol, fine_tuned))
    for name, value in figures.values.items():
        if name in measured:
            title = f"{figures.method}, {figures.protocol.title}, {_TITLES.get(name, name)}"
            yield PublishedComparison(title, value, measured[name], figures.source, differs)


def _differences(result: Result, protocol: PublishedProtocol, fine_tuned: bool) -> Iterator[str]:
    for name, count in protocol.sizes.items():
        if getattr(result, name) != count:
            yield f"{getattr(result, name):,} {name}, published {count:,}"
    if protocol.image_size is not None and result.image_size != protocol.image_size:
        yield f"{result.image_size} px, published {protocol.image_size}"
    if protocol.untuned and fine_tuned:
        yield "fine-tuned for retrieval, published not"
    yield from result.differences(protocol)
