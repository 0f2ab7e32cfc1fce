"""Hard codes, prototypes as running averages and the revival of dead codes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cbalign.engine.task import Progress
from cbalign.objectives.care import longest_unused, revival, running_sum
from cbalign.objectives.vq import grid_codes, quantisation_loss, quantise, round_to_levels
from tests.objectives import equations
from tests.objectives.alignment import batch, experiment, learner, without
from tests.objectives.tensors import close, normal, seeds, unit_vectors

ALL = ("contrastive", "codebook", "matching", "masked_language")


@given(samples=st.integers(1, 6), codes=st.integers(1, 5), momentum=st.floats(0, 0.99), seed=seeds)
def test_running_averages_are_the_equation(samples, codes, momentum, seed):
    features, sums = unit_vectors(samples, 3, seed), unit_vectors(codes, 3, seed + 1)
    targets = normal(samples, codes, seed=seed).softmax(dim=1)
    moved = sums.lerp(running_sum(features, targets), 1 - momentum)
    slow, _ = equations.running_average(sums.tolist(), features.tolist(), targets.tolist(), momentum)
    assert torch.allclose(moved, torch.tensor(slow, dtype=torch.float64))


@given(codes=st.integers(1, 6), samples=st.integers(1, 6), share=st.floats(0, 1), dim=st.integers(2, 4), seed=seeds)
def test_dead_codes_move_to_what_fits_worst(codes, samples, share, dim, seed):
    prototypes, features = unit_vectors(codes, dim, seed), unit_vectors(samples, dim, seed + 1)
    dead = torch.arange(codes)[: round(share * codes)]
    moved, vectors = revival(prototypes, dead, features)
    places = equations.revival(prototypes.tolist(), dead.tolist(), features.tolist())
    assert moved.tolist() == dead.tolist()[: len(places)]
    assert torch.equal(vectors, features[places])


def test_codes_of_longest_disuse_come_first_and_none_before_its_time():
    last_used = torch.tensor([[3, -1, 9, 2, 4], [1, -1, 0, 5, 4]])
    assert longest_unused(last_used, 4).tolist() == [1, 0, 4]
    assert longest_unused(last_used, -1).tolist() == []


@given(size=st.integers(1, 5), codes=st.integers(1, 6), commitment=st.floats(0, 2), seed=seeds)
def test_quantisation_is_the_equation(size, codes, commitment, seed):
    z, prototypes = unit_vectors(size, 3, seed), unit_vectors(codes, 3, seed + 1)
    nearest = [max(range(codes), key=lambda j, i=i: float(z[i] @ prototypes[j])) for i in range(size)]
    assert torch.allclose(quantise(z, prototypes), prototypes[nearest])
    slow = equations.quantisation_loss(z.tolist(), prototypes[nearest].tolist(), commitment)
    assert close(quantisation_loss(z, prototypes, commitment), slow, 1e-9)


def test_gradients_pass_straight_through_to_the_feature_and_each_term_moves_its_own_side():
    z, prototypes = unit_vectors(4, 3, 0).requires_grad_(), unit_vectors(5, 3, 1).requires_grad_()
    weights = normal(4, 3, seed=2)
    through = torch.autograd.grad((quantise(z, prototypes) * weights).sum(), (z, prototypes), allow_unused=True)
    assert torch.equal(through[0], weights)
    assert through[1] is None
    nearest = prototypes.detach()[(z @ prototypes.T).argmax(dim=1)]
    to_z, to_codes = torch.autograd.grad(quantisation_loss(z, prototypes, 0.25), (z, prototypes))
    torch.testing.assert_close(to_z, 0.25 * 2 * (z.detach() - nearest) / 4)
    expected = torch.zeros(5, 3, dtype=torch.float64)
    for i, code in enumerate((z @ prototypes.T).argmax(dim=1).tolist()):
        expected[code] += 2 * (nearest[i] - z.detach()[i]) / 4
    torch.testing.assert_close(to_codes, expected)


@given(levels=st.lists(st.integers(2, 9), min_size=1, max_size=4), scale=st.floats(0.1, 20), seed=seeds)
def test_finite_scalars_are_rounded_as_in_the_equation(levels, scale, seed):
    numbers = normal(7, len(levels), seed=seed, scale=scale)
    rounded = round_to_levels(numbers, levels)
    for row, given_row in zip(rounded.tolist(), numbers.tolist(), strict=True):
        expected = [equations.round_to_level(x, count) for x, count in zip(given_row, levels, strict=True)]
        assert row == pytest.approx(expected, abs=1e-9)
    product = torch.tensor(levels).prod()
    codes = grid_codes(rounded, levels)
    assert 0 <= codes.min() <= codes.max() < product
    same_code, same_grid = codes[:, None] == codes, (rounded[:, None] - rounded).abs().amax(dim=2) < 1e-6
    assert torch.equal(same_code, same_grid)


def test_every_level_is_reached():
    for count in range(2, 10):
        rounded = round_to_levels(torch.linspace(-9, 9, 2000)[:, None], [count])
        assert grid_codes(rounded, [count]).unique().tolist() == list(range(count))


def test_rounding_has_the_gradient_of_the_bound_alone():
    numbers = normal(5, 2, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad(round_to_levels(numbers, [4, 5]).sum(), numbers)
    half, shift = torch.tensor([3 * 1.001 / 2, 4 * 1.001 / 2]), torch.atanh(torch.tensor([0.5 / (3 * 1.001 / 2), 0]))
    slope = (1 - torch.tanh(numbers.detach() + shift) ** 2) * half / torch.tensor([2, 2])
    torch.testing.assert_close(gradient, slope.double(), rtol=1e-5, atol=1e-8)


CASES = {
    "average": ({"update": "average", "average_momentum": 0.5}, {"codebook": {}}),
    "revival": ({"size": 40, "revive_after": 2, "revive_most": 3}, {"codebook": {}}),
    "both": ({"size": 40, "revive_after": 2, "update": "average"}, {"codebook": {}}),
    "vq": ({"size": 40, "revive_after": 2}, {"vq": {}, **without("codebook")}),
    "fsq": ({}, {"fsq": {}, **without("codebook")}),
}


def spec_of(case):
    codebook, objectives = CASES[case]
    return experiment({"codebook": {"size": 5, **codebook}}, **objectives, **without("matching", "masked_language"))


def train(learns, steps):
    optimizer = torch.optim.SGD(learns.model.parameters(), lr=0.1)
    outputs = []
    for step in steps:
        progress = Progress(step=step, total_steps=20, steps_per_epoch=4)
        optimizer.zero_grad()
        learns.before_step(progress)
        outputs.append(learns.step(batch(step), progress))
        outputs[-1].loss.backward()
        optimizer.step()
        learns.after_step(progress)
    return outputs


@pytest.mark.parametrize("case", CASES)
def test_training_continues_bit_for_bit(case):
    straight, first, second = (learner(spec_of(case)) for _ in range(3))
    train(straight, range(7))
    train(first, range(4))
    second.model.load_state_dict(first.model.state_dict())
    train(second, range(4, 7))
    ours, theirs = second.model.state_dict(), straight.model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_dead_codes_are_revived_within_the_steps_given():
    learns = learner(spec_of("revival"))
    book = learns.model.capability("codebook")
    outputs = train(learns, range(2))
    assert outputs[-1].metrics["codebook/revived"] == 0
    before = book.prototypes.detach().clone()
    outputs = train(learns, range(2, 4))
    assert 0 < outputs[-1].metrics["codebook/revived"] <= 3
    moved = (book.prototypes - before).norm(dim=1) > 0.5
    assert 0 < moved.sum() <= 6
    assert (book.last_used[:, moved].amin(dim=0) >= 2).all()
    assert torch.allclose(book.prototypes.norm(dim=1), torch.ones(40), atol=1e-6)


def test_averaged_prototypes_ignore_the_gradient_and_follow_what_is_assigned():
    learns = learner(spec_of("average"))
    book = learns.model.capability("codebook")
    care = learns.model.terms["codebook"].care
    train(learns, range(2))
    assert book.prototypes.grad is None
    assert torch.allclose(book.prototypes, torch.nn.functional.normalize(care.sums, dim=1), atol=1e-6)


def test_two_codebooks_in_one_model_are_refused():
    with pytest.raises(ValidationError, match=r"objectives\.codebook and objectives\.vq both have a codebook"):
        experiment(vq={})


def test_a_number_with_one_level_is_refused():
    with pytest.raises(ValidationError, match="a number needs at least 2 levels"):
        experiment(fsq={"levels": [8, 1]})
