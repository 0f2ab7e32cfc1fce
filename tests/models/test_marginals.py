"""Plans with other marginals, and assignment by centring."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from cbalign.models.centring import Centring
from cbalign.models.marginals import MarginalSolver, Scaling
from cbalign.models.sections.centring import CentringSection
from cbalign.models.sections.marginals import MarginalsSection
from cbalign.models.sections.solvers import IPOTSection, SinkhornSection
from cbalign.models.transport import IPOT, Sinkhorn
from tests.models.test_transport import cosine_costs
from tests.objectives import equations
from tests.objectives.tensors import seeds


def solver(scaling: Scaling, size: int, /, **marginals: object) -> MarginalSolver:
    made = MarginalSolver(MarginalsSection(**marginals), scaling)
    made.allocate(size)
    return made


@settings(max_examples=40)
@given(
    samples=st.integers(1, 6),
    codes=st.integers(1, 7),
    size=st.floats(0.05, 1),
    iterations=st.tuples(st.integers(1, 8), st.integers(1, 4)),
    relaxation=st.sampled_from([None, 0.1, 2.0]),
    mass=st.sampled_from([1.0, 0.6]),
    by_usage=st.booleans(),
    seed=seeds,
)
def test_plans_are_the_algorithm(samples, codes, size, iterations, relaxation, mass, by_usage, seed):
    costs = cosine_costs(samples, codes, seed)
    kind = "usage" if by_usage else "uniform"
    made = solver(Scaling(size, *iterations), codes, codes=kind, relaxation=relaxation, mass=mass, uniform_share=0.2)
    weights = [1 / codes] * codes
    if by_usage:
        made.usage = torch.rand(codes, generator=torch.Generator().manual_seed(seed)).softmax(dim=0)
        weights = [0.8 * float(usage) + 0.2 / codes for usage in made.usage]
    slow = equations.scaled_plan(costs.tolist(), weights, size, *iterations, relaxation, mass)
    assert torch.allclose(made(costs).mass, torch.tensor(slow, dtype=torch.float64), rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("rho", [0.05, 0.5, 5.0])
def test_relaxed_entropic_plans_are_those_of_pot(rho):
    costs = cosine_costs(7, 5, seed=1)
    plan = solver(Scaling(0.05, 1, 5000), 5, relaxation=rho)(costs).mass
    one_sided = ot.unbalanced.sinkhorn_unbalanced(
        np.full(7, 1 / 7), np.full(5, 1 / 5), costs.numpy(), 0.05, (float("inf"), rho), c=np.ones((7, 5)),
        method="sinkhorn_stabilized", numItermax=50_000, stopThr=1e-13,
    )  # fmt: skip
    np.testing.assert_allclose(plan.numpy(), one_sided, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mass", [0.3, 0.8])
def test_many_proximal_steps_reach_the_exact_partial_optimum(seed, mass):
    """A linear program with the constraints as written: rows at most 1/N, columns exactly m/K."""
    samples, codes = 9, 4
    costs = cosine_costs(samples, codes, seed)
    rows = np.kron(np.eye(samples), np.ones(codes))
    columns = np.kron(np.ones(samples), np.eye(codes))
    exact = linprog(
        costs.flatten().numpy(), A_ub=rows, b_ub=np.full(samples, 1 / samples), A_eq=columns,
        b_eq=np.full(codes, mass / codes),
    )  # fmt: skip
    plan = solver(Scaling(0.5, 3000, 1), codes, mass=mass)(costs)
    assert plan.mass.sum().item() == pytest.approx(mass)
    assert plan.cost(costs).item() == pytest.approx(exact.fun, rel=0.01)
    assert plan.targets().sum(dim=1).mean().item() == pytest.approx(1)
    assert (plan.mass.sum(dim=1) <= 1 / samples + 1e-9).all()


def test_many_proximal_steps_reach_the_exact_relaxed_optimum():
    """The conditions of optimality: <T, D> + ρ KL falls in no direction within a row."""
    costs, rho = cosine_costs(8, 5, seed=3), 0.4
    plan = solver(Scaling(0.2, 5000, 1), 5, relaxation=rho)(costs).mass
    slope = costs + rho * (plan.sum(dim=0) * 5).log()
    used = plan > 1e-6
    assert (slope - slope.amin(dim=1, keepdim=True))[used].max() < 1e-4
    assert not used.all()


@pytest.mark.parametrize("section", [IPOTSection(iterations=300), SinkhornSection(solver="sinkhorn", iterations=3000)])
def test_without_relaxation_the_plan_is_that_of_the_plain_solver(section):
    costs = cosine_costs(6, 9, seed=4)
    marginals = section.marginals.model_copy(update={"relaxation": 1e7})
    relaxed = section.model_copy(update={"marginals": marginals}).build()
    assert isinstance(section.build(), IPOT | Sinkhorn)
    assert isinstance(relaxed, MarginalSolver)
    assert torch.allclose(relaxed(costs).mass, section.build()(costs).mass, rtol=1e-3, atol=1e-9)


def test_usage_follows_the_nearest_codes_and_is_saved():
    made = solver(Scaling(0.1, 1, 500), 3, codes="usage", usage_momentum=0.5, uniform_share=0.1)
    costs = torch.tensor([[0.1, 1, 1], [0.2, 1, 1], [0.3, 1, 1], [1, 0.1, 1]])
    first = made(costs).mass.sum(dim=0)  # by the usage before
    assert torch.allclose(first, torch.full((3,), 1 / 3), atol=1e-4)
    usage = 0.5 / 3 + 0.5 * torch.tensor([0.75, 0.25, 0.0])
    assert torch.allclose(made.state_dict()["usage"], usage)
    assert torch.allclose(made(costs).mass.sum(dim=0), 0.9 * usage + 0.1 / 3, atol=1e-4)


@pytest.mark.parametrize("marginals", [{"relaxation": 0.5}, {"mass": 0.5}, {"codes": "usage", "uniform_share": 1e-6}])
def test_small_steps_stay_finite_in_float32_and_under_autocast(marginals):
    costs = 2 * cosine_costs(12, 20, seed=5).clamp(max=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        plan = solver(Scaling(0.004, 20, 2), 20, **marginals)(costs.requires_grad_())
    assert plan.mass.dtype == torch.float32
    assert not plan.mass.requires_grad
    assert torch.isfinite(plan.targets()).all()


@settings(max_examples=30)
@given(samples=st.integers(1, 5), codes=st.integers(1, 6), temperature=st.floats(0.02, 1), seed=seeds)
def test_centring_is_the_equation(samples, codes, temperature, seed):
    made = Centring(CentringSection(solver="centring", temperature=temperature, centre_momentum=0.75))
    made.allocate(codes)
    made.double()
    centre = [0.0] * codes
    for step in range(3):
        costs = cosine_costs(samples, codes, seed + step)
        slow = equations.centred(costs.tolist(), centre, temperature)
        assert torch.allclose(made(costs).targets(), torch.tensor(slow, dtype=torch.float64), rtol=1e-6)
        means = [sum(1 - row[j] for row in costs.tolist()) / samples for j in range(codes)]
        centre = [0.75 * c + 0.25 * mean for c, mean in zip(centre, means, strict=True)]
    assert torch.allclose(made.centre, torch.tensor(centre, dtype=torch.float64))
