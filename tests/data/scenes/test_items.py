from __future__ import annotations

import pickle

import numpy as np
import pytest

from cbalign.data.datasets import data_sets
from cbalign.data.image import decode
from cbalign.data.items import ItemSource, item_fingerprint, texts_of
from cbalign.data.open_items import open_labelled, open_premises, open_questions, open_statements
from cbalign.data.scenes.questions import ANSWERS
from cbalign.data.sections.drawings import ScenesSource
from cbalign.data.source import open_source

SECTION = ScenesSource(source="scenes", split="test", size=36, render_size=32)
OPENERS = [open_questions, open_statements, open_premises]


@pytest.mark.parametrize("opener", OPENERS)
def test_items_are_as_many_as_asked_for_and_each_has_its_pictures(opener):
    source: ItemSource = opener(SECTION)
    assert len(source) == 36
    for index in (0, 17, 35):
        pictures = source.images(index)
        assert len(pictures) == len(source.item(index).image_keys)
        assert all(picture.size == (32, 32) and picture.mode == "RGB" for picture in pictures)
        read = [np.asarray(decode(file)) for file in source.read(index)]
        assert all(map(np.array_equal, read, map(np.asarray, pictures)))


@pytest.mark.parametrize("opener", OPENERS)
def test_items_travel_to_spawned_workers_and_do_not_depend_on_the_order_of_reading(opener):
    source: ItemSource = opener(SECTION)
    items = [source.item(index) for index in range(36)]
    copy = pickle.loads(pickle.dumps(opener(SECTION)))
    assert [copy.item(index) for index in reversed(range(36))] == items[::-1]
    assert item_fingerprint(copy) == item_fingerprint(source)
    other = opener(SECTION.model_copy(update={"seed": 1}))
    assert item_fingerprint(other) != item_fingerprint(source)


def test_questions_are_about_the_scenes_of_the_pairs():
    questions, pairs = open_questions(SECTION), open_source(SECTION)
    for index in (0, 5, 35):
        assert questions.item(index).image_key == pairs.entry(index // 4).image_key
        assert np.array_equal(np.asarray(questions.images(index)[0]), np.asarray(pairs.load(index // 4)))


def test_questions_have_one_answer_of_the_closed_list():
    source = open_questions(SECTION)
    answers = [source.item(index).answers for index in range(36)]
    assert all(len(one) == 1 and one[0].weight == 1 and one[0].text in ANSWERS for one in answers)
    assert len(ANSWERS) == len(set(ANSWERS)) == 25


def test_no_question_is_asked_twice_of_one_scene():
    source = open_questions(SECTION.model_copy(update={"size": 400}))
    asked = [(source.item(index).image_key, source.item(index).text) for index in range(400)]
    assert len(set(asked)) == 400


def test_the_same_sentence_is_one_group_and_the_same_scenes_have_one_name():
    source = open_statements(SECTION)
    items = [source.item(index) for index in range(4)]
    assert [item.group for item in items] == [items[0].group] * 2 + [items[2].group] * 2
    assert items[0].text == items[1].text
    assert items[0].image_keys == items[2].image_keys != items[1].image_keys == items[3].image_keys
    assert np.array_equal(np.asarray(source.images(0)[1]), np.asarray(source.images(2)[1]))
    assert [item.label for item in items] == [True, False, False, True]


def test_labels_say_whether_statements_or_premises_are_measured():
    assert open_labelled(SECTION, ("False", "True")).item(0).target in (0, 1)
    premises = open_labelled(SECTION, ("contradiction", "neutral", "entailment"))
    assert sorted(premises.item(index).target for index in range(9)) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_all_items_are_of_one_data_set_and_say_words():
    assert data_sets(SECTION) == ("scenes",)
    assert all(text for opener in OPENERS for text in texts_of(opener(SECTION)))
