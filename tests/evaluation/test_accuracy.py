"""Hand-worked cases of the official VQA evaluation (GT-Vision-Lab/VQA, vqaEval.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbalign.evaluation.accuracy import Share, accuracy_by_kind, exact_match, vqa_accuracy
from cbalign.evaluation.answers import answer_type, normalise_answer


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("The Dog", "dog"),
        ("a man and an umbrella", "man and umbrella"),
        ("Ten", "10"),
        ("none", "0"),
        ("eleven", "eleven"),
        ("dont know", "don't know"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("couldntve", "couldntve"),
        ("somebody'd", "somebodyd"),
        ("shes", "shes"),
        ("Im", "im"),  # the table has `Im`, but words are in lower case when it is asked
        ("the man's", "man's"),
        ("red-white", "red white"),
        ("red - white", "red white"),
        ("red -white", "red white"),
        ("t-shirt - red", "tshirt red"),  # one hyphen beside a space: all go without a space
        ("1,000", "1000"),
        ("1,000 red-white", "1000 redwhite"),
        ("5, 6", "5 6"),
        ("a,b", "b"),
        ("U.S.", "us"),
        ("1.5", "1.5"),
        ("2.", "2"),
        (".5", ".5"),
        ("v.2", "v.2"),
        ("5:30", "5:30"),
        ("50%", "50%"),
        ("$3", "$3"),
        ("yes!", "yes"),
        ("what?no", "what no"),
        ("a\tb\n", "b"),
        ("", ""),
        ("." * 33, "."),
    ],
)
def test_answers_are_normalised_as_the_official_code_does(answer: str, normal: str) -> None:
    assert normalise_answer(answer) == normal


def annotators(**counts: int) -> list[str]:
    return [answer for answer, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("said_so", "expected"),
    [
        (0, 0.0),
        (1, (1 * 0 + 9 * 1 / 3) / 10),  # 0.3
        (2, (2 * 1 / 3 + 8 * 2 / 3) / 10),  # 0.6
        (3, (3 * 2 / 3 + 7 * 1) / 10),  # 0.9
        (4, 1.0),
        (10, 1.0),
    ],
)
def test_an_answer_of_some_of_ten_annotators(said_so: int, expected: float) -> None:
    assert vqa_accuracy("red", annotators(red=said_so, blue=10 - said_so)) == pytest.approx(expected)


def test_answers_are_normalised_where_annotators_differ() -> None:
    assert vqa_accuracy("Two dogs.", ["2 dogs"] * 3 + ["two dogs!"] * 3 + ["cats"] * 4) == 1.0


def test_answers_are_compared_as_they_are_where_all_annotators_agree() -> None:
    assert vqa_accuracy(" two\tdogs ", ["two dogs"] * 10) == 1.0
    assert vqa_accuracy("2 dogs", ["two dogs"] * 10) == 0.0
    assert vqa_accuracy("Yes", ["yes"] * 10) == 0.0
    assert vqa_accuracy("Yes", ["yes"] * 9 + ["no"]) == 1.0


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=12), st.sampled_from("bcde"))
def test_accuracy_is_the_mean_over_all_subsets_without_one_annotator(given_answers: list[str], answer: str) -> None:
    # `a` is an article and becomes empty, which no one answers here.
    subsets = [given_answers[:i] + given_answers[i + 1 :] for i in range(len(given_answers))]
    expected = sum(min(1.0, subset.count(answer) / 3) for subset in subsets) / len(subsets)
    assert vqa_accuracy(answer, given_answers) == pytest.approx(expected)


def test_one_right_answer_is_matched_exactly() -> None:
    assert exact_match("the circle", "Circle") == 1.0
    assert exact_match("circles", "circle") == 0.0


def test_accuracy_is_told_by_kind_of_question() -> None:
    found = accuracy_by_kind([1.0, 0.0, 0.3, 0.9], ["yes/no", "yes/no", "other", "other"])
    assert found == {"other": Share(pytest.approx(60.0), 2), "yes/no": Share(50.0, 2)}
    assert list(found) == ["other", "yes/no"]


def test_kinds_of_questions_follow_from_their_answer() -> None:
    assert [answer_type(a) for a in ("yes", "no", "3", "2.5", "red", "maybe")] == [
        "yes/no",
        "yes/no",
        "number",
        "number",
        "other",
        "other",
    ]
