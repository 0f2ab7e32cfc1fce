from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbalign.evaluation import ranking
from cbalign.evaluation.ranking import Relevance, rank, rank_candidates


def pessimistic_rank(scores: list[float], right: set[int]) -> int:
    """By sorting: the position of the first right item when wrong ones go first among equals."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i in right))
    return next(position for position, item in enumerate(order, start=1) if item in right)


@given(st.data())
def test_ranks_equal_those_of_a_sort_that_puts_wrong_items_first(data: st.DataObject) -> None:
    images = data.draw(st.integers(1, 6))
    owner = np.array([*range(images), *data.draw(st.lists(st.integers(0, images - 1), max_size=6))])
    levels = st.integers(-2, 2)  # few values: many ties
    image = np.array(data.draw(st.lists(levels, min_size=2 * images, max_size=2 * images)), np.float32).reshape(-1, 2)
    text = np.array(data.draw(st.lists(levels, min_size=2 * len(owner), max_size=2 * len(owner))), np.float32).reshape(
        -1, 2
    )
    scores = image @ text.T

    found = rank(image, text, Relevance.captions_of_images(owner, images))
    expected = [pessimistic_rank(list(scores[i]), set(np.flatnonzero(owner == i))) for i in range(images)]
    assert found.ranks.tolist() == expected

    found = rank(text, image, Relevance.image_of_captions(owner, images))
    expected = [pessimistic_rank(list(scores[:, t]), {int(owner[t])}) for t in range(len(owner))]
    assert found.ranks.tolist() == expected


def test_a_model_that_gives_everything_the_same_vector_is_last() -> None:
    vector = np.full((37, 8), 8**-0.5, np.float32)
    found = rank(vector, vector, Relevance.image_of_captions(np.arange(37), 37))
    assert (found.ranks == 37).all()


def test_equal_vectors_tie_wherever_they_stand() -> None:
    """Sums in float32 differ in the last bit by position; that must not decide."""
    generator = np.random.default_rng(3)
    vector = generator.standard_normal(257).astype(np.float32)
    vector /= np.linalg.norm(vector)
    items = np.broadcast_to(vector, (1013, 257)).copy()
    found = rank(items[:5], items, Relevance(np.arange(5), np.arange(5), 5, 1013))
    assert (found.ranks == 1013).all()


def test_chunks_do_not_change_ranks_or_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    image, text = (generator.standard_normal((n, 16)).astype(np.float32) for n in (40, 90))
    owner = np.concatenate([np.arange(40), generator.integers(40, size=50)])
    relevance = Relevance.captions_of_images(owner, 40)
    whole = rank(image, text, relevance, 7)
    monkeypatch.setattr(ranking, "_CHUNK_SCORES", 300)
    monkeypatch.setattr(ranking, "_BLOCK_VALUES", 16 * 11)
    parts = rank(image, text, relevance, 7)
    assert (whole.ranks == parts.ranks).all()
    assert (np.sort(whole.candidates) == np.sort(parts.candidates)).all()
    best = np.sort(np.argsort(-(image @ text.T), axis=1)[:, :7])
    assert (np.sort(whole.candidates) == best).all()


def test_a_right_item_that_ties_with_the_last_candidate_is_left_out() -> None:
    queries = np.ones((1, 1), np.float32)
    items = np.array([[0.5], [0.5], [0.5], [0.9]], np.float32)
    for right in range(3):
        found = rank(queries, items, Relevance(np.array([0]), np.array([right]), 1, 4), candidates=3)
        assert right not in found.candidates
        assert found.ranks.tolist() == [4]


def test_candidates_that_contain_no_right_item_leave_the_rank_as_it_was() -> None:
    scores = np.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [2.0, 2.0, 2.0]], np.float32)
    right = np.array([[False, True, False], [False, False, False], [True, False, True]])
    assert rank_candidates(scores, right, np.array([1, 9, 1])).tolist() == [3, 9, 2]
