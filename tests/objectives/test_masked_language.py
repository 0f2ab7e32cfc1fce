import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cbalign.objectives.masked_language import (
    MaskedTokens,
    mask_tokens,
    masked_language,
    masked_language_over_positions,
)
from tests.objectives import equations
from tests.objectives.tensors import close, normal, seeds

CLS, MASK, PAD, VOCABULARY = 1, 3, 0, 50


@given(
    predicted=st.integers(1, 6),
    vocabulary=st.integers(1, 9),
    scale=st.floats(0.1, 30),
    alpha=st.sampled_from([0.0, 0.4, 1.0]),
    taught=st.booleans(),
    seed=seeds,
)
def test_masked_language_is_the_equation(predicted, vocabulary, scale, alpha, taught, seed):
    logits, teacher = (normal(predicted, vocabulary, seed=seed + i, scale=scale) for i in range(2))
    labels = torch.randint(vocabulary, (predicted,), generator=torch.Generator().manual_seed(seed))
    fast = masked_language(logits, labels, teacher if taught else None, alpha)
    slow = equations.distilled_losses(logits.tolist(), labels.tolist(), teacher.tolist() if taught else None, alpha)
    assert close(fast, sum(slow) / predicted)


def test_nothing_to_predict_is_no_loss():
    logits = torch.zeros(0, 7, requires_grad=True)
    loss = masked_language(logits, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 7), 0.4)
    loss.backward()
    assert loss.item() == 0


def texts(rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids, [CLS] first and padded, and where they are protected."""
    ids = torch.randint(4, VOCABULARY, (rows, length))
    ids[:, 0] = CLS
    ids[: rows // 2, length // 2 :] = PAD
    return ids, (ids == CLS) | (ids == PAD)


@settings(max_examples=40)
@given(rows=st.integers(1, 5), length=st.integers(1, 9), probability=st.floats(0.01, 0.99), seed=seeds)
def test_only_words_are_masked_and_their_labels_are_what_they_were(rows, length, probability, seed):
    torch.manual_seed(seed)
    ids, protected = texts(rows, length)
    masked = mask_tokens(ids, protected, probability, mask_id=MASK, vocabulary=VOCABULARY)
    assert not (masked.chosen & protected).any()
    assert masked.input_ids[~masked.chosen].equal(ids[~masked.chosen])
    assert masked.labels.equal(ids[masked.chosen])
    assert ((masked.input_ids >= 0) & (masked.input_ids < VOCABULARY)).all()


def test_eight_of_ten_become_mask_one_a_random_word_one_stays():
    torch.manual_seed(0)
    ids = torch.full((200, 500), 7)
    masked = mask_tokens(ids, torch.zeros_like(ids, dtype=torch.bool), 0.15, mask_id=MASK, vocabulary=VOCABULARY)
    after = masked.input_ids[masked.chosen]
    assert masked.chosen.float().mean().item() == pytest.approx(0.15, abs=0.005)
    by_chance = 0.1 / VOCABULARY  # a random word can be [MASK] or the word itself
    assert (after == MASK).float().mean().item() == pytest.approx(0.8 + by_chance, abs=0.015)
    assert (after == 7).float().mean().item() == pytest.approx(0.1 + by_chance, abs=0.012)


def test_masks_of_one_seed_are_the_same():
    ids, protected = texts(4, 12)
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(mask_tokens(ids, protected, 0.5, mask_id=MASK, vocabulary=VOCABULARY).input_ids)
    assert drawn[0].equal(drawn[1])


@given(rows=st.integers(1, 4), length=st.integers(2, 6), vocabulary=st.integers(1, 7), seed=seeds)
def test_the_published_mistake_is_a_softmax_over_positions(rows, length, vocabulary, seed):
    alpha = 0.4
    torch.manual_seed(seed)
    logits, teacher = normal(rows, length, vocabulary, seed=seed), normal(rows, length, vocabulary, seed=seed + 1)
    inside = torch.ones(rows, length, dtype=torch.bool)
    inside[0, length - 1] = False
    chosen = (torch.rand(rows, length) < 0.5) & inside
    labels = torch.randint(vocabulary, (int(chosen.sum()),))
    masked = MaskedTokens(torch.zeros(rows, length, dtype=torch.int64), chosen, labels)
    fast = masked_language_over_positions(logits, inside, masked, teacher[chosen], alpha)
    losses = []
    for label, (row, place) in zip(labels.tolist(), chosen.nonzero().tolist()):
        soft = 0.0
        for word in range(vocabulary):
            column = [logits[row, at, word].item() for at in range(length) if inside[row, at]]
            log_p = logits[row, place, word].item() - math.log(sum(math.exp(value) for value in column))
            soft -= teacher[row, place].double().softmax(0)[word].item() * log_p
        hard = -logits[row, place].double().log_softmax(0)[label].item()
        losses.append((1 - alpha) * hard + alpha * soft)
    assert close(fast, sum(losses) / len(losses) if losses else 0.0)
