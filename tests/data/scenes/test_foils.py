"""Foils of scenes: each caption is true of its own picture and false of the other, read from the words alone."""

from __future__ import annotations

import re
from collections import Counter
from typing import get_args

import pytest

from cbalign.data.scenes.foils import CATEGORIES, foil_of
from cbalign.data.scenes.graph import HELD_OUT, Scene
from cbalign.data.sections.drawings import ScenesSplit
from tests.data.scenes import reader

SPLITS = get_args(ScenesSplit)


def holds(caption: str, scene: Scene) -> bool:
    (world,) = reader.worlds(scene)
    if found := re.fullmatch(rf"an? (.+?) {reader.WAY} an? (.+)", caption):
        first, way, second = found.groups()
        return any(
            reader.lies(one, way, other) for one in reader.those(world, first) for other in reader.those(world, second)
        )
    return all(reader.those(world, reader.noun_of(part)) for part in caption.split(" and "))


@pytest.mark.parametrize("split", SPLITS)
def test_each_caption_is_true_of_its_own_picture_only(split: ScenesSplit):
    for index in range(200):
        foil = foil_of(split, index)
        assert foil.category == CATEGORIES[index % 4]
        truths = [[holds(caption, scene) for caption in foil.captions] for scene in foil.scenes]
        assert truths == [[True, False], [False, True]], foil


@pytest.mark.parametrize("split", SPLITS)
def test_words_and_values_are_the_same_on_both_sides(split: ScenesSplit):
    for index in range(200):
        foil = foil_of(split, index)
        first, second = (Counter(re.sub(r"\ban\b", "a", caption).split()) for caption in foil.captions)
        assert first == second
        for name in ("shape", "colour", "material", "size", "x", "y", "radius"):
            one, other = (Counter(getattr(figure, name) for figure in scene.figures) for scene in foil.scenes)
            assert one == other
        changed = [a != b for a, b in zip(*(scene.figures for scene in foil.scenes), strict=True)]
        assert sum(changed) == 2
        if split != "compositions":
            assert not [f for scene in foil.scenes for f in scene.figures if (f.shape, f.colour) in HELD_OUT]
