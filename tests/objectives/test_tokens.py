"""Objectives over single tokens: TCL's local terms, and transport between words and patches."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cbalign.models.marginals import Scaling
from cbalign.objectives.local import local_contrast, pooled_patches
from cbalign.objectives.token_transport import transport_costs
from tests.objectives import equations
from tests.objectives.alignment import BATCH, LATER, batch, experiment, learner, without
from tests.objectives.tensors import close, numeric_gradient, seeds, unit_vectors

OTHERS = ("codebook", "matching", "masked_language")


def tokens(items: int, count: int, seed: int) -> torch.Tensor:
    return unit_vectors(items * count, 3, seed).view(items, count, 3)


def shown(items: int, count: int, seed: int) -> torch.Tensor:
    """Tokens of different numbers, at least one each."""
    lengths = torch.randint(1, count + 1, (items, 1), generator=torch.Generator().manual_seed(seed))
    return torch.arange(count)[None] < lengths


@given(
    items=st.integers(1, 5), count=st.integers(1, 4), images=st.integers(1, 4), temperature=st.floats(0.05, 1),
    seed=seeds,
)  # fmt: skip
def test_local_contrast_is_the_equation_with_padding_left_out(items, count, images, temperature, seed):
    whole, parts, inside = unit_vectors(items, 3, seed), tokens(items, count, seed + 1), shown(items, count, seed)
    ids = torch.randint(images, (items,), generator=torch.Generator().manual_seed(seed))
    own = ids[:, None] == ids
    gamma = torch.tensor(temperature, dtype=torch.float64)
    slow = equations.local_contrast(whole.tolist(), parts.tolist(), inside.tolist(), own.tolist(), temperature)
    assert close(local_contrast(whole, parts, inside, own, gamma), slow, 1e-9)
    spoiled = torch.where(inside[:, :, None], parts, 7.0)
    assert close(local_contrast(whole, spoiled, inside, own, gamma), slow, 1e-9)


@settings(max_examples=30)
@given(
    items=st.integers(1, 3), words=st.integers(1, 4), patches=st.integers(1, 5), beta=st.floats(0.1, 1),
    iterations=st.integers(1, 20), seed=seeds,
)  # fmt: skip
def test_token_transport_is_the_equation_with_padding_left_out(items, words, patches, beta, iterations, seed):
    text, image, inside = tokens(items, words, seed), tokens(items, patches, seed + 1), shown(items, words, seed)
    fast = transport_costs(text, image, inside, Scaling(beta, iterations, 1))
    for i in range(items):
        slow = equations.token_transport(text[i][inside[i]].tolist(), image[i].tolist(), beta, iterations)
        assert close(fast[i], slow, 1e-9)


def test_gradients_of_the_local_term_are_those_of_the_equation():
    whole, parts, inside = unit_vectors(4, 3, 0).requires_grad_(), tokens(4, 3, 1), shown(4, 3, 2)
    own, gamma = torch.eye(4) > 0, torch.tensor(0.3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(local_contrast(whole, parts, inside, own, gamma), whole)

    def slow(z):
        return equations.local_contrast(z.tolist(), parts.tolist(), inside.tolist(), own.tolist(), 0.3)

    torch.testing.assert_close(gradient, numeric_gradient(slow, whole.detach()), rtol=1e-6, atol=1e-8)


def test_gradients_of_token_transport_take_the_plan_as_a_constant():
    words, patches = tokens(1, 3, 0).requires_grad_(), tokens(1, 4, 1).requires_grad_()
    scaling, everything = Scaling(0.5, 30, 1), torch.ones(1, 3, dtype=torch.bool)
    cost = transport_costs(words, patches, everything, scaling).sum()
    costs = equations.transport_costs(words[0].tolist(), patches[0].tolist())
    plan = torch.tensor(equations.scaled_plan(costs, [0.25] * 4, 0.5, 30, 1, None, 1.0), dtype=torch.float64)
    to_words, to_patches = torch.autograd.grad(cost, (words, patches))
    torch.testing.assert_close(to_words[0], -plan @ patches[0].detach())
    torch.testing.assert_close(to_patches[0], -plan.T @ words[0].detach())


def test_patches_are_averaged_in_squares_of_the_grid():
    grid = torch.arange(16.0).view(1, 16, 1)  # 4 x 4, in squares of 2 x 2
    assert pooled_patches(grid).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert torch.equal(pooled_patches(grid[:, :15]), grid[:, :15])


@pytest.mark.parametrize("name", ["local", "token_transport"])
@pytest.mark.parametrize("teacher", [True, False])
def test_the_objective_trains_with_and_without_teacher(name, teacher):
    model = {"queue": {"length": 0}, "teacher": {"enabled": teacher}}
    learns = learner(experiment(model, **{name: {}}, clip={}, **without("contrastive", *OTHERS)))
    found = learns.step(dataclasses.replace(batch(), image_ids=torch.arange(BATCH) // 2), LATER)
    assert torch.isfinite(found.loss)
    assert found.terms[name] != 0
    found.loss.backward()
    assert learns.model.student.image_projection.weight.grad.abs().sum() > 0
