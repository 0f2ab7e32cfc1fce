"""Swapped prediction between views, and solvers with state within the codebook's loss."""

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cbalign.models.transport import Sinkhorn
from cbalign.objectives.swapped import swapped_prediction
from tests.objectives import equations
from tests.objectives.alignment import LATER, batch, experiment, learner, without
from tests.objectives.tensors import close, numeric_gradient, seeds, unit_vectors


@given(
    before=st.integers(0, 3),
    size=st.integers(1, 4),
    codes=st.integers(1, 6),
    dim=st.integers(1, 4),
    temperature=st.floats(0.05, 1),
    seed=seeds,
)
def test_swapped_prediction_is_the_equation(before, size, codes, dim, temperature, seed):
    every = [unit_vectors(before + size, dim, seed + i) for i in range(2)]
    one, two = (z[before:] for z in every)
    prototypes = unit_vectors(codes, dim, seed + 2)
    fast = swapped_prediction(one, two, *every, prototypes, temperature, Sinkhorn(0.1, 20, tolerance=0), first=before)
    plans = [equations.sinkhorn(equations.transport_costs(z.tolist(), prototypes.tolist()), 0.1, 20) for z in every]
    q_one, q_two = ([[m / sum(row) for m in row] for row in plan[before:]] for plan in plans)
    slow = equations.swapped_prediction(one.tolist(), two.tolist(), q_one, q_two, prototypes.tolist(), temperature)
    assert close(fast, slow, 1e-9)


def test_gradients_reach_both_views_and_the_prototypes_with_the_codes_as_constants():
    one, two, prototypes = (unit_vectors(n, 3, n).requires_grad_() for n in (4, 4, 5))
    solve = Sinkhorn(0.1, 30, tolerance=0)
    loss = swapped_prediction(one, two, one, two, prototypes, 0.2, solve)
    q_one, q_two = (solve(1 - z.detach() @ prototypes.detach().T).targets().tolist() for z in (one, two))
    gradients = torch.autograd.grad(loss, (one, two, prototypes))
    fixed = [x.detach() for x in (one, two, prototypes)]

    def slow(a, b, c):
        return equations.swapped_prediction(a.tolist(), b.tolist(), q_one, q_two, c.tolist(), 0.2)

    for i, gradient in enumerate(gradients):
        numeric = numeric_gradient(lambda x, i=i: slow(*fixed[:i], x, *fixed[i + 1 :]), fixed[i])
        torch.testing.assert_close(gradient, numeric, rtol=1e-6, atol=1e-8)


def two_views(seed=0):
    return dataclasses.replace(batch(seed), teacher_images=batch(seed + 1).images)


@pytest.mark.parametrize(
    "transport",
    [
        {"solver": "centring"},
        {"solver": "ipot", "marginals": {"codes": "usage"}},
        {"solver": "sinkhorn", "marginals": {"relaxation": 0.5, "mass": 0.7}},
    ],
    ids=["centring", "usage", "partial"],
)
def test_training_continues_bit_for_bit_from_the_state_of_the_solvers(transport):
    spec = experiment(
        {"codebook": {"size": 5, "transport": transport}}, swapped={}, **without("matching", "masked_language")
    )

    def train(learns, steps):
        optimizer = torch.optim.SGD(learns.model.parameters(), lr=0.1)
        for step in steps:
            optimizer.zero_grad()
            learns.before_step(LATER)
            output = learns.step(two_views(step), LATER)
            output.loss.backward()
            optimizer.step()
            learns.after_step(LATER)
        return output

    straight, first, second = learner(spec), learner(spec), learner(spec)
    assert train(straight, range(4)).terms.keys() == {"contrastive", "codebook", "swapped"}
    train(first, range(2))
    second.model.load_state_dict(first.model.state_dict())
    train(second, range(2, 4))
    ours, theirs = second.model.state_dict(), straight.model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    stateful = [name for name in theirs if name.endswith(("usage", "centre"))]
    assert len(stateful) == (0 if "partial" in str(transport) or "mass" in str(transport) else 3)
    for a, b in itertools.combinations(stateful, 2):
        assert not torch.equal(theirs[a], theirs[b]), "each modality has its own"


def test_without_transport_weight_prototypes_learn_by_prediction_alone():
    losses = {}
    for weight in (0.0, 1.0, 2.0):
        spec = experiment(
            codebook={"transport_weight": weight}, **without("contrastive", "matching", "masked_language")
        )
        output = learner(spec).step(batch(), LATER)
        losses[weight] = output.loss.item()
        cost = output.metrics["codebook/transport"].item()
        assert output.loss.item() == pytest.approx(output.metrics["codebook/prediction"].item() + weight * cost)
    assert losses[0.0] < losses[1.0] < losses[2.0]
