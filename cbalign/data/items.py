"""Items that cbalign's own tasks learn from: pairs, questions, statements and premises; and foils, for evaluation.

An item has one or more images and one or more texts about them. It has no answers, or no label, where a test set keeps
them secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

ENTAILMENT_LABELS = ("contradiction", "neutral", "entailment")
"""The classes of entailment, in the order of the model's logits (ALBEF's)."""

STATEMENT_LABELS = ("False", "True")
"""The classes of statements about two images, in the order of the model's logits."""


class Item(Protocol):
    """What all kinds of items have in common."""

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Names of the images, in order; readable, and the same in every run."""

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        """Identities of the images, in order: within a source, equal exactly for the same image."""

    @property
    def text(self) -> str:
        """The first of `texts`."""

    @property
    def texts(self) -> tuple[str, ...]:
        """What a model reads: the captions, or the one question, statement or hypothesis."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """What a model should answer, as text: the answers or the label; empty for captions."""


class Labelled(Item, Protocol):
    """An item that belongs to one of several classes: a statement or a premise."""

    @property
    def id(self) -> str:
        """Its identifier in the file, or its number there."""

    @property
    def target(self) -> int | None:
        """The class, in the order of the logits; None if the label is secret."""

    @property
    def group(self) -> str:
        """Equal for the items of a group, of which consistency is measured."""


@dataclass(frozen=True)
class Pair:
    """An image and its captions, of which each epoch draws one.

    Args:
        image_key: the name of the image.
        captions: at least one.
        image_id: equal exactly for the same image, below 2⁶³.

    Raises:
        TypeError: a value has another type; a text as `captions` would be read as its characters.
    """

    image_key: str
    captions: tuple[str, ...]
    image_id: int

    def __post_init__(self) -> None:
        captions, image_id = self.captions, self.image_id
        if not isinstance(captions, tuple) or not captions or not all(isinstance(each, str) for each in captions):
            found = repr(captions)
            raise TypeError(f"`captions` of the pair {self.image_key} must be a tuple of texts, not {found[:80]}")
        if not isinstance(image_id, int | np.integer) or abs(image_id) >= 2**63:
            raise TypeError(f"`image_id` of the pair {self.image_key} must be a number below 2**63, not {image_id!r}")

    @property
    def image_keys(self) -> tuple[str, ...]:
        """The name of the image."""
        return (self.image_key,)

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        """The identity of the image."""
        return (self.image_id,)

    @property
    def text(self) -> str:
        """The first caption."""
        return self.captions[0]

    @property
    def texts(self) -> tuple[str, ...]:
        """All captions."""
        return self.captions

    @property
    def outputs(self) -> tuple[str, ...]:
        """Empty: a pair has captions only."""
        return ()


@dataclass(frozen=True)
class Answer:
    """An answer to a question, with the weight of its loss and how many annotators gave it in exactly these words."""

    text: str
    weight: float  # share of the annotators; 0.5 for Visual Genome's one answer (ALBEF)
    count: int


@dataclass(frozen=True)
class Question:
    """A question about an image. `answers` are distinct texts, in order of first appearance."""

    id: int | str  # as in the file: results for EvalAI repeat it
    image_key: str
    text: str
    answers: tuple[Answer, ...]
    answer_type: str | None = None  # VQA v2's: `yes/no`, `number`, `other`
    question_type: str | None = None  # VQA v2's: the words that the question begins with

    @property
    def image_keys(self) -> tuple[str, ...]:
        """The name of the image."""
        return (self.image_key,)

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        """The identity of the image, its name."""
        return (self.image_key,)

    @property
    def texts(self) -> tuple[str, ...]:
        """The question."""
        return (self.text,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The answers."""
        return tuple(answer.text for answer in self.answers)


@dataclass(frozen=True)
class Statement:
    """A statement about two images, true or false.

    Statements of one `group` are the same sentence about different images: a model is consistent on a group if it is
    right about all of it (NLVR2). Where the file does not say which belong together, the group is the sentence itself.
    """

    id: str
    image_keys: tuple[str, str]  # left, right
    text: str
    label: bool | None
    group: str

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        """The identities of the images, their names."""
        return self.image_keys

    @property
    def texts(self) -> tuple[str, ...]:
        """The statement."""
        return (self.text,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The label."""
        return (str(self.label),)

    @property
    def target(self) -> int | None:
        """The class."""
        return None if self.label is None else int(self.label)


@dataclass(frozen=True)
class Premise:
    """An image, and a text that it entails, contradicts or leaves open."""

    id: str
    image_key: str
    text: str
    label: str | None  # one of ENTAILMENT_LABELS

    @property
    def image_keys(self) -> tuple[str, ...]:
        """The name of the image."""
        return (self.image_key,)

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        """The identity of the image, its name."""
        return (self.image_key,)

    @property
    def texts(self) -> tuple[str, ...]:
        """The hypothesis."""
        return (self.text,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The label."""
        return (str(self.label),)

    @property
    def target(self) -> int | None:
        """The class."""
        return None if self.label is None else ENTAILMENT_LABELS.index(self.label)

    @property
    def group(self) -> str:
        """The item alone: premises are measured one by one."""
        return self.id


@dataclass(frozen=True)
class Foil:
    """Two captions that differ in a detail, and the image of the first or the images of both.

    Caption i describes image i. With one image, the second caption is wrong (a hard negative, as in SugarCrepe); with
    two, each caption is wrong about the other image (Winoground).
    """

    id: str
    image_keys: tuple[str, ...]  # one or two
    captions: tuple[str, str]
    category: str  # what differs: `swap_att`

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        """The identities of the images, their names."""
        return self.image_keys

    @property
    def text(self) -> str:
        """The caption of the first image."""
        return self.captions[0]

    @property
    def texts(self) -> tuple[str, ...]:
        """Both captions."""
        return self.captions

    @property
    def outputs(self) -> tuple[str, ...]:
        """Empty: foils are compared, not predicted."""
        return ()
