"""The interface of evaluation results, whatever was measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from cbalign.runtime.table import Block


@dataclass(frozen=True)
class PublishedProtocol:
    """How a published number was measured."""

    data_set: str  # a name of `cbalign.data.datasets`
    split: str  # by our names: `validation`, `test`
    title: str  # by theirs: `NLVR2 dev`
    name: str  # `rerank`, `accuracy`
    sizes: Mapping[str, int] = field(default_factory=dict)  # numbers of images, texts or items
    image_size: int | None = 384  # of fine-tuning (ALBEF, configs); None where it is not published
    max_tokens: int | None = None  # at which texts are cut; None where they are not
    top_k: int | None = None
    zero_shot: bool = False
    fine_tuned_on: tuple[str, ...] | None = None  # data sets; empty for a pretrained model, None for `data_set`
    secret: bool = False  # measured by a server, on items whose answers are not public


class Result(ABC):
    """The result of one evaluation by one protocol on one split.

    Results with equal `gallery` were measured on the same items and can be compared item by item.
    """

    protocol: str
    split: str
    source: str
    gallery: str
    image_size: int

    @property
    @abstractmethod
    def protocol_name(self) -> str:
        """The protocol with its parameter: `rerank top 32`."""

    @property
    @abstractmethod
    def unreadable(self) -> int:
        """Number of items that were left out because their images cannot be read."""

    @abstractmethod
    def describe(self) -> str:
        """Return the protocol with the sizes of what was measured."""

    @abstractmethod
    def flat(self) -> dict[str, float]:
        """Return all numbers by name."""

    @abstractmethod
    def headlines(self) -> dict[str, float]:
        """Return the few most important numbers."""

    @abstractmethod
    def to_json(self) -> dict[str, object]:
        """Return the result as JSON values, with those of every item."""

    @abstractmethod
    def renamed(self, split: str) -> Self:
        """Return the same result under another name of the split."""

    def titles(self) -> Mapping[str, str]:
        """Return the names of `flat` that comparisons show, in their order, with their titles."""
        return {name: name for name in self.flat()}

    @abstractmethod
    def paired_intervals(self, other: Result, resamples: int) -> Mapping[str, tuple[float, float]]:
        """Return 95 % intervals of the change from this result to `other`, by name; empty if the items differ."""

    @abstractmethod
    def differences(self, published: PublishedProtocol) -> Iterator[str]:
        """Yield the differences to the protocol of a published number, other than sizes."""

    @classmethod
    @abstractmethod
    def blocks(cls, results: Sequence[Self]) -> list[Block]:
        """Lay out results of this class for a report."""
