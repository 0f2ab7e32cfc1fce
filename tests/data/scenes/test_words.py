"""What is said of scenes is so: each sentence is read again from its words and judged in every possible world."""

from __future__ import annotations

import re
from itertools import product
from typing import get_args

import pytest

from cbalign.data.scenes.captions import caption, complete, partial
from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.facts import judge
from cbalign.data.scenes.graph import Scene, scene_of
from cbalign.data.scenes.hypotheses import hypothesis_of
from cbalign.data.scenes.language import sentence
from cbalign.data.scenes.proposals import propose_claim
from cbalign.data.scenes.questions import ANSWERS, questions_of
from cbalign.data.scenes.statements import statement_of
from cbalign.data.sections.drawings import ScenesSplit
from tests.data.scenes import reader

SPLITS = get_args(ScenesSplit)
LABELS = {(True,): "entailment", (False, True): "neutral", (False,): "contradiction"}


def enumerable(*scenes: Scene) -> bool:
    """Whether there are few enough worlds: 21 for each figure in the shade."""
    return sum(f.shaded for scene in scenes for f in scene.figures) <= 2


@pytest.mark.parametrize("split", SPLITS)
def test_labels_of_hypotheses_hold_in_all_worlds_some_or_none(split: ScenesSplit):
    hypotheses = [h for i in range(0, 540) if enumerable((h := hypothesis_of(split, i)).scene)]
    assert len(hypotheses) > 250
    for hypothesis in hypotheses:
        verdicts = {reader.holds(hypothesis.text, world) for world in reader.worlds(hypothesis.scene)}
        assert LABELS[tuple(sorted(verdicts))] == hypothesis.label, hypothesis


def test_verdicts_of_any_claim_are_those_of_its_worlds():
    words = {"true": (True,), "open": (False, True), "false": (False,), None: (None,)}
    seen = set()
    for i in range(400):
        draws = Draws("claims", i)
        scene = scene_of("train", i, seed=9)
        claim = propose_claim([scene, scene_of("train", i, seed=8)], draws, "train")
        if not enumerable(scene):
            continue
        truth = judge(claim, scene)
        truths = {reader.holds(sentence(claim, draws), world) for world in reader.worlds(scene)}
        assert tuple(sorted(truths, key=str)) == tuple(sorted(words[truth], key=str)), (claim, scene)
        seen.add(truth)
    assert len(seen) == 4


@pytest.mark.parametrize("split", SPLITS)
def test_statements_are_what_their_truth_says_in_every_world(split: ScenesSplit):
    checked = 0
    for i in range(400):
        statement = statement_of(split, i)
        left, right = statement.scenes
        if enumerable(left, right):
            truths = {
                reader.holds_of_two(statement.text, a, b) for a in reader.worlds(left) for b in reader.worlds(right)
            }
            assert truths == {statement.truth}, statement
            checked += 1
    assert checked > 300


@pytest.mark.parametrize("split", SPLITS)
def test_questions_have_their_answer_in_every_world(split: ScenesSplit):
    checked = set()
    for i in range(200):
        scene = scene_of(split, i)
        if enumerable(scene):
            for question in questions_of(split, i):
                answers = {reader.answer(question.text, world) for world in reader.worlds(scene)}
                assert answers == {question.answer}, (question, scene)
                assert question.answer in ANSWERS
                checked.add(question.topic)
    assert len(checked) == 9


def test_complete_captions_name_every_figure_as_it_is_seen():
    for i in range(300):
        scene = scene_of("train", i)
        text = complete(scene, Draws("any", i))
        named = [name for word in text.replace(",", "").replace(":", "").split() if (name := reader.WORDS.get(word))]
        for kind in ("shape", "colour"):
            shown = sorted(getattr(f, kind) for f in scene.figures if kind == "shape" or not f.shaded)
            assert sorted(value for name, value in named if name == kind) == shown, text
        for kind in ("material", "size"):
            can_be = [getattr(f, kind) for f in scene.figures if kind == "size" or not f.shaded]
            for value in {value for name, value in named if name == kind}:
                assert named.count((kind, value)) <= can_be.count(value), text
        assert ("shade" in text) == any(f.shaded for f in scene.figures)
        assert len(text.split()) <= 40


def test_captions_say_truly_how_figures_lie():
    checked = 0
    for i in range(600):
        scene = scene_of("train", i)
        text = complete(scene, Draws("lie", i))
        if m := re.match(rf"(an? .+?) {reader.WAY} (an? .+?)(?:,|$)", text):
            pairs = product(reader.meant(m[1], scene), reader.meant(m[3], scene))
            assert any(reader.lies(one, m[2], other) for one, other in pairs), (text, scene)
            checked += 1
        if m := re.match(r"from (left to right|top to bottom): (.+)", text):
            phrases = re.split(r", and also |, and |, | and also | and ", m[2])
            axis = "x" if m[1] == "left to right" else "y"
            figures = sorted(scene.figures, key=lambda f: getattr(f, axis))
            assert len(phrases) == len(figures)
            for phrase, figure in zip(phrases, figures):
                assert reader.vars_of(figure) in [
                    {name: f[name] for name in reader.vars_of(figure)} for f in reader.meant(phrase, scene)
                ]
            checked += 1
    assert checked > 200


@pytest.mark.parametrize("split", SPLITS)
def test_captions_of_a_part_are_true_in_every_world(split: ScenesSplit):
    places = facts = tallies = 0
    for i in range(300):
        scene = scene_of(split, i)
        text = partial(scene, Draws("part", split, i), split)
        assert len(text.split()) <= 40
        if counts := reader.counted(text):
            assert sum(counts.values()) == len(scene.figures), (text, scene)
            if enumerable(scene):
                assert all(
                    len(reader.those(world, noun)) == count
                    for world in reader.worlds(scene)
                    for noun, count in counts.items()
                ), (text, scene)
            tallies += 1
            continue
        for said in text.split(", and "):
            if m := re.fullmatch(rf"(an? .+?) {reader.WAY} (an? .+)", said):
                pairs = product(reader.meant(m[1], scene), reader.meant(m[3], scene))
                assert any(reader.lies(one, m[2], other) for one, other in pairs), (text, scene)
                places += 1
            elif enumerable(scene):
                assert {reader.holds(said, world) for world in reader.worlds(scene)} == {True}, (text, scene)
                facts += 1
    assert min(places, facts) > 120
    assert tallies > 30


def test_captions_name_figures_in_passing_by_what_is_seen_of_them():
    alone = dict.fromkeys(("shape", "colour", "material", "size"), 0)
    for i in range(600):
        scene = scene_of("train", i)
        if m := re.fullmatch(
            rf"(an? .+?) {reader.WAY} (an? .+)", partial(scene, Draws("passing", i), "train").split(", and ")[0]
        ):
            for phrase in (m[1], m[3]):
                told = reader.attributes(reader.noun_of(phrase))
                assert len(told) >= 1, phrase
                if len(told) == 1 and "shade" not in phrase:
                    alone[next(iter(told))] += 1
    assert min(alone.values()) > 5


def test_wording_varies():
    scene = scene_of("train", 0)
    assert len({caption(scene, Draws("wording", i), "train") for i in range(50)}) > 35
