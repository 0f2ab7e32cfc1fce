from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cbalign.objectives.matching import image_text_matching
from cbalign.objectives.negatives import draw_negatives
from tests.objectives import equations
from tests.objectives.alignment import BATCH, LATER, batch, experiment, learner
from tests.objectives.tensors import close, normal, seeds


@given(pairs=st.integers(1, 9), scale=st.floats(0.1, 40), seed=seeds, data=st.data())
def test_matching_is_the_equation(pairs, scale, seed, data):
    logits = normal(pairs, 2, seed=seed, scale=scale)
    fits = data.draw(st.lists(st.integers(0, 1), min_size=pairs, max_size=pairs))
    valid = data.draw(st.lists(st.booleans(), min_size=pairs, max_size=pairs).filter(any))
    fast = image_text_matching(logits, torch.tensor(fits), torch.tensor(valid))
    assert close(fast, equations.matching_loss(logits.tolist(), fits, valid))


@given(batch=st.integers(1, 6), images=st.integers(1, 4), scale=st.floats(0.0, 200), seed=seeds)
def test_a_negative_is_never_of_the_same_image(batch, images, scale, seed):
    """However similar the positives are, and if nothing else is left the row says so instead of failing."""
    torch.manual_seed(seed)
    ids = torch.randint(images, (batch,))
    same = ids[:, None] == ids[None, :]
    negatives = draw_negatives(normal(batch, batch, seed=seed, scale=scale) + 1000 * same, same)
    for i, (index, valid) in enumerate(zip(negatives.index.tolist(), negatives.valid.tolist(), strict=True)):
        assert valid == (len(set(ids.tolist())) > 1)
        assert 0 <= index < batch
        assert not valid or ids[index] != ids[i]


@pytest.mark.parametrize("hardness", [1.0, 0.3, 0.0])
def test_negatives_are_drawn_with_the_probability_of_their_similarity(hardness):
    torch.manual_seed(0)
    similarities, positive = [2.0, 0.5, -1.0, 1.0, 3.0], [False, False, False, True, False]
    draws = 40_000
    rows = torch.tensor(similarities).expand(draws, -1)
    drawn = draw_negatives(rows, torch.tensor(positive).expand(draws, -1), hardness).index
    expected = equations.negative_probabilities([hardness * s for s in similarities], positive)
    for candidate, probability in enumerate(expected):
        share = (drawn == candidate).float().mean().item()
        assert share == pytest.approx(probability, abs=4 * (probability * (1 - probability) / draws) ** 0.5)


def test_one_pair_has_no_negatives_and_a_loss_of_its_own():
    negatives = draw_negatives(torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))
    assert negatives.valid.tolist() == [False]
    logits = torch.tensor([[0.0, 2.0], [9.0, -9.0], [9.0, -9.0]])
    loss = image_text_matching(logits, torch.tensor([1, 0, 0]), torch.tensor([True, False, False]))
    assert loss.item() == pytest.approx(equations.matching_loss([[0.0, 2.0]], [1], [True]))


@pytest.mark.parametrize("positives", ["image", "pair"])
def test_other_captions_of_an_image_are_negatives_where_only_the_pair_is_positive(positives):
    trained = learner(experiment(matching={"positives": positives}))
    ids = torch.tensor([0, 0, 0, 1, 1, 1])
    own, drawn = torch.arange(BATCH), []
    for _ in range(20):
        step = trained.begin(replace(batch(), image_ids=ids), LATER)
        fit, *others = trained.model.terms["matching"].fusions(step)
        assert fit.images is None
        assert fit.texts is None
        drawn += [request.images if request.texts is None else request.texts for request in others]
    assert not any((index == own).any() for index in drawn)
    assert any((ids[index] == ids).any() for index in drawn) == (positives == "pair")
