from __future__ import annotations

import pickle

import numpy as np
import pytest

from cbalign.data.image import decode
from cbalign.data.scenes.questions import ANSWERS
from cbalign.data.sections.drawings import ScenesSource
from cbalign.data.source import Source, fingerprint, open_source, texts_of

SECTION = ScenesSource(source="scenes", split="test", size=36, render_size=32)
KINDS = ["pairs", "questions", "statements", "premises", "foils"]


@pytest.mark.parametrize("kind", KINDS)
def test_items_are_as_many_as_asked_for_and_each_has_its_pictures(kind):
    source: Source = open_source(SECTION, kind)
    assert len(source) == 36
    for index in (0, 17, 35):
        pictures = source.images(index)
        assert len(pictures) == len(source.item(index).image_keys)
        assert all(picture.size == (32, 32) and picture.mode == "RGB" for picture in pictures)
        read = [np.asarray(decode(file)) for file in source.read(index)]
        assert all(map(np.array_equal, read, map(np.asarray, pictures)))


@pytest.mark.parametrize("kind", KINDS)
def test_items_travel_to_spawned_workers_and_do_not_depend_on_the_order_of_reading(kind):
    source: Source = open_source(SECTION, kind)
    items = [source.item(index) for index in range(36)]
    copy = pickle.loads(pickle.dumps(open_source(SECTION, kind)))
    assert [copy.item(index) for index in reversed(range(36))] == items[::-1]
    assert fingerprint(copy) == fingerprint(source)
    other = open_source(SECTION.model_copy(update={"seed": 1}), kind)
    assert fingerprint(other) != fingerprint(source)


def test_questions_are_about_the_scenes_of_the_pairs():
    questions, pairs = open_source(SECTION, "questions"), open_source(SECTION, "pairs")
    for index in (0, 5, 35):
        assert questions.item(index).image_key == pairs.item(index // 4).image_key
        assert np.array_equal(np.asarray(questions.images(index)[0]), np.asarray(pairs.images(index // 4)[0]))


def test_questions_have_one_answer_of_the_closed_list():
    source = open_source(SECTION, "questions")
    answers = [source.item(index).answers for index in range(36)]
    assert all(len(one) == 1 and one[0].weight == 1 and one[0].text in ANSWERS for one in answers)
    assert len(ANSWERS) == len(set(ANSWERS)) == 25


def test_no_question_is_asked_twice_of_one_scene():
    source = open_source(SECTION.model_copy(update={"size": 400}), "questions")
    asked = [(source.item(index).image_key, source.item(index).text) for index in range(400)]
    assert len(set(asked)) == 400


def test_the_same_sentence_is_one_group_and_the_same_scenes_have_one_name():
    source = open_source(SECTION, "statements")
    items = [source.item(index) for index in range(4)]
    assert [item.group for item in items] == [items[0].group] * 2 + [items[2].group] * 2
    assert items[0].text == items[1].text
    assert items[0].image_keys == items[2].image_keys != items[1].image_keys == items[3].image_keys
    assert np.array_equal(np.asarray(source.images(0)[1]), np.asarray(source.images(2)[1]))
    assert [item.label for item in items] == [True, False, False, True]


def test_each_kind_has_its_classes():
    assert open_source(SECTION, "statements").item(0).target in (0, 1)
    premises = open_source(SECTION, "premises")
    assert sorted(premises.item(index).target for index in range(9)) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_all_items_are_of_one_data_set_and_say_words():
    assert SECTION.data_sets() == ("scenes",)
    assert all(text for kind in KINDS for text in texts_of(open_source(SECTION, kind)))
