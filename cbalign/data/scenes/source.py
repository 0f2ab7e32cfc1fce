"""Scenes as sources of pairs, questions, statements, premises and foils; images are drawn when they are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from PIL import Image

from cbalign.data.items import Answer, Foil, Item, Pair, Premise, Question, Statement
from cbalign.data.scenes.captions import CAPTIONS, captions_of
from cbalign.data.scenes.drawing import draw, png
from cbalign.data.scenes.foils import foil_of
from cbalign.data.scenes.graph import Scene, scene_of
from cbalign.data.scenes.hypotheses import hypothesis_of
from cbalign.data.scenes.questions import QUESTIONS, questions_of
from cbalign.data.scenes.statements import statement_of
from cbalign.data.sections.drawings import ScenesSource, ScenesSplit
from cbalign.parts import ItemKind

ItemT_co = TypeVar("ItemT_co", bound=Item, covariant=True)


class SceneItems(ABC, Generic[ItemT_co]):
    """The first items of a split; implements `cbalign.data.source.Source`.

    Args:
        split: the split.
        size: number of items.
        render_size: side of the images in pixels.
        seed: of all random choices.
    """

    noun: ClassVar[str]

    def __init__(self, split: ScenesSplit, size: int, *, render_size: int, seed: int) -> None:
        self.name = f"scenes {split}"
        self._split: ScenesSplit = split
        self._length = size
        self._render_size = render_size
        self._seed = seed

    def __len__(self) -> int:
        return self._length

    @abstractmethod
    def item(self, index: int) -> ItemT_co:
        """Return item `index`."""

    @abstractmethod
    def _scenes(self, index: int) -> tuple[Scene, ...]:
        """Return the scenes that item `index` is about."""

    def images(self, index: int) -> tuple[Image.Image, ...]:
        """Draw the images of item `index`, (render_size, render_size) RGB."""
        return tuple(draw(scene, self._render_size) for scene in self._scenes(index))

    def read(self, index: int) -> tuple[bytes, ...]:
        """Draw the images of item `index` as PNG files."""
        return tuple(png(picture) for picture in self.images(index))

    def describe(self) -> str:
        """Describe the source in one line for logs."""
        return f"{self.name}: {len(self):,} {self.noun}, {self._render_size} px"


class ScenePairs(SceneItems[Pair]):
    """Scenes with three captions each; no two pairs show the same image."""

    noun = f"drawn scenes with {CAPTIONS} captions each"

    def item(self, index: int) -> Pair:
        """Return scene `index` with its captions."""
        captions = captions_of(self._split, index, self._seed)
        return Pair(image_key=f"{self._split}-{self._seed}-{index}", captions=captions, image_id=index)

    def _scenes(self, index: int) -> tuple[Scene, ...]:
        return (scene_of(self._split, index, self._seed),)


class SceneQuestions(SceneItems[Question]):
    """Questions about the scenes of the pairs of the split, four about each."""

    noun = "questions about drawn scenes"

    def item(self, index: int) -> Question:
        """Return question `index` with its one answer."""
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


class SceneStatements(SceneItems[Statement]):
    """Statements about two scenes, in blocks of four (see `statements`)."""

    noun = "statements about two drawn scenes"

    def item(self, index: int) -> Statement:
        """Return statement `index`."""
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


class ScenePremises(SceneItems[Premise]):
    """Scenes as premises, with hypotheses in blocks of nine (see `hypotheses`)."""

    noun = "hypotheses about drawn scenes"

    def item(self, index: int) -> Premise:
        """Return premise and hypothesis `index`."""
        said = hypothesis_of(self._split, index, self._seed)
        return Premise(
            id=f"{self._split}-{self._seed}-{index}", image_key=said.picture, text=said.text, label=said.label
        )

    def _scenes(self, index: int) -> tuple[Scene, ...]:
        return (hypothesis_of(self._split, index, self._seed).scene,)


class SceneFoils(SceneItems[Foil]):
    """Two scenes with two captions each, of which something is swapped (see `foils`)."""

    noun = "foils about two drawn scenes"

    def item(self, index: int) -> Foil:
        """Return foil `index`."""
        made = foil_of(self._split, index, self._seed)
        name = f"{self._split}-{self._seed}-f{index}"
        return Foil(name, (f"{name}-0", f"{name}-1"), made.captions, made.category)

    def _scenes(self, index: int) -> tuple[Scene, ...]:
        return foil_of(self._split, index, self._seed).scenes


_OF_KIND: dict[ItemKind, type[SceneItems[Item]]] = {
    "pairs": ScenePairs,
    "questions": SceneQuestions,
    "statements": SceneStatements,
    "premises": ScenePremises,
    "foils": SceneFoils,
}


def open_section(section: ScenesSource, items: ItemKind) -> SceneItems[Item]:
    """Open the source that a section describes, with one kind of items."""
    return _OF_KIND[items](section.split, section.size, render_size=section.render_size, seed=section.seed)
