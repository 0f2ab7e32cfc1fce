"""Who sees only the words, or only the pictures, does not know the label."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cbalign.data.scenes.drawing import draw
from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.facts import Truth, judge
from cbalign.data.scenes.graph import COLOURS, MATERIALS, SHAPES, SIZES, Scene, draw_scene
from cbalign.data.scenes.hypotheses import Hypothesis, hypothesis_of
from cbalign.data.scenes.language import sentence
from cbalign.data.scenes.proposals import propose_claim
from cbalign.data.scenes.questions import questions_of
from cbalign.data.scenes.statements import GeneratedStatement, statement_of
from cbalign.data.sections.drawings import ScenesSplit
from tests.data.scenes.probe import WordCounts, accuracy

TRAIN, TEST = 1800, 900


def pixels(scene: Scene) -> np.ndarray:
    return np.asarray(draw(scene, 64).resize((8, 8))).reshape(-1).astype(np.float32)


def contents(scene: Scene) -> np.ndarray:
    """What a perfect eye sees: counts of every attribute and of shaded figures."""
    seen = Counter(
        name
        for f in scene.figures
        for name in (f.shape, f.size, *(("shaded",) if f.shaded else (f.colour, f.material)))
    )
    return np.array([seen[name] for name in _SEEN], np.float32)


_SEEN = (*SHAPES, *COLOURS, *MATERIALS, *SIZES, "shaded")


def image_features(scenes: list[tuple[Scene, ...]]) -> np.ndarray:
    return np.stack([np.concatenate([f(scene) for scene in group for f in (pixels, contents)]) for group in scenes])


@pytest.fixture(scope="module")
def hypotheses() -> dict[str, list[Hypothesis]]:
    sizes: dict[ScenesSplit, int] = {"train": TRAIN, "test": TEST, "compositions": TEST}
    return {split: [hypothesis_of(split, i) for i in range(size)] for split, size in sizes.items()}


@pytest.fixture(scope="module")
def statements() -> dict[str, list[GeneratedStatement]]:
    sizes: dict[ScenesSplit, int] = {"train": TRAIN, "test": TEST, "compositions": TEST}
    return {split: [statement_of(split, i) for i in range(size)] for split, size in sizes.items()}


@pytest.mark.parametrize("split", ["test", "compositions"])
def test_words_of_a_hypothesis_do_not_tell_its_label(hypotheses: dict[str, list[Hypothesis]], split: str):
    train, test = hypotheses["train"], hypotheses[split]
    words = WordCounts([h.text for h in train])
    features = words([h.text for h in train]), words([h.text for h in test])
    found = accuracy(features[0], [h.label for h in train], features[1], [h.label for h in test])
    assert abs(found - 1 / 3) < 0.05


@pytest.mark.parametrize("split", ["test", "compositions"])
def test_picture_does_not_tell_the_label_of_a_hypothesis(hypotheses: dict[str, list[Hypothesis]], split: str):
    train, test = hypotheses["train"], hypotheses[split]
    features = image_features([(h.scene,) for h in train]), image_features([(h.scene,) for h in test])
    found = accuracy(features[0], [h.label for h in train], features[1], [h.label for h in test], steps=100)
    assert abs(found - 1 / 3) < 0.05


@pytest.mark.parametrize("split", ["test", "compositions"])
def test_words_of_a_statement_do_not_tell_its_truth(statements: dict[str, list[GeneratedStatement]], split: str):
    train, test = statements["train"], statements[split]
    words = WordCounts([s.text for s in train])
    features = words([s.text for s in train]), words([s.text for s in test])
    found = accuracy(features[0], [str(s.truth) for s in train], features[1], [str(s.truth) for s in test])
    assert abs(found - 1 / 2) < 0.05


@pytest.mark.parametrize("split", ["test", "compositions"])
def test_pictures_do_not_tell_the_truth_of_a_statement(statements: dict[str, list[GeneratedStatement]], split: str):
    train, test = statements["train"], statements[split]
    features = image_features([s.scenes for s in train]), image_features([s.scenes for s in test])
    found = accuracy(features[0], [str(s.truth) for s in train], features[1], [str(s.truth) for s in test], steps=100)
    assert abs(found - 1 / 2) < 0.05


def test_the_classifier_finds_the_bias_of_hypotheses_that_are_drawn_label_by_label():
    """The usual way: for a picture and a label, take the next claim that has it. The classifier has to see through."""
    pairs = []
    for i in range(2400):
        draws = Draws("unbalanced", i)
        scene, label = draw_scene(draws, "train", shade=0.35), list(Truth)[i % 3]
        for _ in range(100):
            claim = propose_claim([scene], draws, "train")
            if judge(claim, scene) is label:
                pairs.append((sentence(claim, draws), label.value))
                break
    train, test = pairs[:-600], pairs[-600:]
    words = WordCounts([text for text, _ in train])
    features = words([text for text, _ in train]), words([text for text, _ in test])
    found = accuracy(features[0], [label for _, label in train], features[1], [label for _, label in test])
    assert found > 1 / 3 + 0.15


def test_each_sentence_and_each_picture_of_a_block_has_every_label_once(hypotheses: dict[str, list[Hypothesis]]):
    for block in zip(*[iter(hypotheses["train"])] * 9):
        for key in ("text", "picture"):
            labels = Counter((getattr(h, key), h.label) for h in block)
            assert len(labels) == 9
            assert set(labels.values()) == {1}


def test_each_statement_is_true_of_one_pair_and_false_of_the_other(statements: dict[str, list[GeneratedStatement]]):
    for block in zip(*[iter(statements["train"])] * 4):
        for key in ("identity", "pictures"):
            assert Counter((getattr(s, key), s.truth) for s in block).most_common(1)[0][1] == 1
            assert len({getattr(s, key) for s in block}) == 2


def test_forms_of_hypotheses_are_all_there(hypotheses: dict[str, list[Hypothesis]]):
    first_words = Counter(h.text.split()[0] for h in hypotheses["train"])
    assert {"the", "there"} <= set(first_words)
    assert max(first_words.values()) < 0.85 * TRAIN


def test_yes_and_no_are_equally_frequent():
    answers = Counter(q.answer for i in range(800) for q in questions_of("train", i))
    assert 0.88 < answers["yes"] / answers["no"] < 1.14
