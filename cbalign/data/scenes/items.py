"""Scenes as questions, statements and premises: the same for VQA, NLVR2 and SNLI-VE as files are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from PIL import Image

from cbalign.data.items import Answer, Item, Premise, Question, Statement
from cbalign.data.scenes.drawing import draw, png
from cbalign.data.scenes.graph import Scene, scene_of
from cbalign.data.scenes.hypotheses import hypothesis_of
from cbalign.data.scenes.questions import QUESTIONS, questions_of
from cbalign.data.scenes.statements import statement_of
from cbalign.data.sections.drawings import ScenesSplit

_ItemT = TypeVar("_ItemT", bound=Item)


class _SceneItems(ABC, Generic[_ItemT]):
    """The first items of a split; keeps `ItemSource`.

    Args:
        split: of which scenes.
        size: how many items.
        render_size: side of a picture in pixels.
        seed: of all of them.
    """

    _what: str

    def __init__(self, split: ScenesSplit, size: int, *, render_size: int, seed: int) -> None:
        self.name = f"scenes {split}"
        self._split: ScenesSplit = split
        self._length = size
        self._render_size = render_size
        self._seed = seed

    def __len__(self) -> int:
        return self._length

    @abstractmethod
    def item(self, index: int) -> _ItemT:
        """What item `index` says."""

    @abstractmethod
    def _scenes(self, index: int) -> tuple[Scene, ...]:
        """What item `index` speaks of."""

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """The pictures of item `index`, (render_size, render_size) RGB."""
        return tuple(draw(scene, self._render_size) for scene in self._scenes(index))

    def read(self, index: int) -> tuple[bytes, ...]:
        """The pictures of item `index` as PNG files."""
        return tuple(png(picture) for picture in self.images(index))

    def describe(self) -> str:
        """One line for logs."""
        return f"{self.name}: {len(self):,} {self._what}, {self._render_size} px"


class SceneQuestions(_SceneItems[Question]):
    """Questions about the scenes that are the pairs of the split, four about each."""

    _what = "questions about drawn scenes"

    def item(self, index: int) -> Question:
        """Question `index`, with its one answer."""
        scene, which = divmod(index, QUESTIONS)
        asked = questions_of(self._split, scene, self._seed)[which]
        return Question(
            id=index,
            image_key=f"{self._split}-{self._seed}-{scene}",
            text=asked.text,
            answers=(Answer(asked.answer, weight=1.0, count=1),),
            question_type=asked.topic,
        )

    def _scenes(self, index: int) -> tuple[Scene, ...]:
        return (scene_of(self._split, index // QUESTIONS, self._seed),)


class SceneStatements(_SceneItems[Statement]):
    """Statements about two scenes, in blocks of four (see `statements`)."""

    _what = "statements about two drawn scenes"

    def item(self, index: int) -> Statement:
        """Statement `index`."""
        said = statement_of(self._split, index, self._seed)
        return Statement(
            id=f"{self._split}-{self._seed}-{index}",
            image_keys=said.pictures,
            text=said.text,
            label=said.truth,
            group=said.identity,
        )

    def _scenes(self, index: int) -> tuple[Scene, ...]:
        return statement_of(self._split, index, self._seed).scenes


class ScenePremises(_SceneItems[Premise]):
    """Scenes as premises, with hypotheses in blocks of nine (see `hypotheses`)."""

    _what = "hypotheses about drawn scenes"

    def item(self, index: int) -> Premise:
        """Premise and hypothesis `index`."""
        said = hypothesis_of(self._split, index, self._seed)
        return Premise(
            id=f"{self._split}-{self._seed}-{index}", image_key=said.picture, text=said.text, label=said.label
        )

    def _scenes(self, index: int) -> tuple[Scene, ...]:
        return (hypothesis_of(self._split, index, self._seed).scene,)
