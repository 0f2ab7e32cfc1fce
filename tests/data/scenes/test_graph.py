from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import combinations
from typing import get_args

import pytest

from cbalign.data.scenes.captions import caption
from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.graph import COLOURS, HELD_OUT, MATERIALS, SHAPES, SIZES, scene_of
from cbalign.data.scenes.hypotheses import hypothesis_of
from cbalign.data.scenes.questions import questions_of
from cbalign.data.scenes.statements import statement_of
from cbalign.data.sections.drawings import ScenesSplit

SPLITS = get_args(ScenesSplit)
FAMILIAR = tuple(split for split in SPLITS if split != "compositions")


def texts(split: ScenesSplit, count: int) -> list[str]:
    return [
        text
        for i in range(count)
        for text in (
            caption(scene_of(split, i), Draws(split, i), split),
            *(question.text for question in questions_of(split, i)),
            statement_of(split, i).text,
            hypothesis_of(split, i).text,
        )
    ]


def test_scenes_and_texts_are_the_same_on_every_machine():
    said = "\n".join([*map(repr, (scene_of(split, 7) for split in SPLITS)), *texts("test", 40)])
    assert hashlib.sha256(said.encode()).hexdigest()[:16] == "cae75fa3199a9166"


def test_a_scene_does_not_depend_on_what_was_asked_before():
    later = [hypothesis_of("train", i).text for i in (500, 3, 77)]
    assert [hypothesis_of("train", i).text for i in (77, 3, 500)] == later[::-1]
    assert scene_of("train", 5) == scene_of("train", 5)


def test_splits_indices_and_seeds_have_scenes_of_their_own():
    scenes = [scene_of(split, i, seed).figures for split in SPLITS for i in range(200) for seed in (0, 1)]
    assert len(set(scenes)) == len(scenes)


def test_every_shape_and_colour_is_in_training_but_six_combinations_are_not():
    seen = {(f.shape, f.colour) for i in range(3000) for f in scene_of("train", i).figures}
    every = {(shape, colour) for shape in SHAPES for colour in COLOURS}
    assert seen == every - HELD_OUT
    assert len(HELD_OUT) == 6


@pytest.mark.parametrize("split", FAMILIAR)
def test_held_out_combinations_never_occur(split: ScenesSplit):
    shown = [f for i in range(1500) for f in scene_of(split, i).figures]
    shown += [f for i in range(0, 900, 2) for scene in statement_of(split, i).scenes for f in scene.figures]
    shown += [f for i in range(900) for f in hypothesis_of(split, i).scene.figures]
    assert not HELD_OUT & {(f.shape, f.colour) for f in shown}


@pytest.mark.parametrize("split", FAMILIAR)
def test_held_out_combinations_are_never_mentioned(split: ScenesSplit):
    said = "\n".join(texts(split, 600))
    for shape, colour in HELD_OUT:
        assert not re.search(rf"{colour} {shape}|{shape} is {colour}", said)


def test_every_scene_of_compositions_shows_a_held_out_combination():
    for i in range(500):
        scenes = (scene_of("compositions", i), *statement_of("compositions", i).scenes)
        for scene in (*scenes, hypothesis_of("compositions", i).scene):
            assert HELD_OUT & {(f.shape, f.colour) for f in scene.figures if not f.shaded}


def test_figures_lie_apart_and_within_the_picture():
    for i in range(500):
        figures = scene_of("train", i).figures
        assert 2 <= len(figures) <= 4
        for f in figures:
            assert f.radius < min(f.x, f.y, 1 - f.x, 1 - f.y) + 0.005
        for one, other in combinations(figures, 2):
            assert (one.x - other.x) ** 2 + (one.y - other.y) ** 2 > (one.radius + other.radius) ** 2


def test_attributes_are_about_equally_frequent():
    figures = [f for i in range(3000) for f in scene_of("train", i).figures]
    for name, values in (("shape", SHAPES), ("colour", COLOURS), ("material", MATERIALS), ("size", SIZES)):
        counts = Counter(getattr(f, name) for f in figures)
        assert set(counts) == set(values)
        assert max(counts.values()) < 1.35 * min(counts.values())


def test_directions_are_opposites_and_never_close_calls():
    for i in range(300):
        for one, other in combinations(scene_of("train", i).figures, 2):
            assert one.lies("left of", other) == other.lies("right of", one)
            assert one.lies("above", other) == other.lies("below", one)
            for axis in "xy":
                assert not 0.07 < abs(getattr(one, axis) - getattr(other, axis)) < 0.25
