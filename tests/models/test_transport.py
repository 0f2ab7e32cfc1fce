import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cbalign.models.transport import IPOT, SMALLEST_SCALING_BETA, Sinkhorn
from tests.objectives import equations
from tests.objectives.tensors import seeds, unit_vectors


def cosine_costs(samples: int, codes: int, seed: int, dim: int = 6) -> torch.Tensor:
    return 1 - unit_vectors(samples, dim, seed) @ unit_vectors(codes, dim, seed + 1).T


def relative_l1(plan: torch.Tensor, other: torch.Tensor) -> float:
    return ((plan - other).abs().sum() / other.abs().sum()).item()


@pytest.mark.parametrize("seed", range(20))
def test_many_proximal_steps_reach_the_exact_optimum(seed):
    samples, codes = np.random.default_rng(seed).integers(2, 40, size=2)
    costs = cosine_costs(int(samples), int(codes), seed)
    optimum = ot.emd2(np.full(samples, 1 / samples), np.full(codes, 1 / codes), costs.numpy())
    plan = IPOT(beta=0.5, iterations=1000)(costs)
    assert plan.cost(costs).item() == pytest.approx(optimum, rel=0.01)


@pytest.mark.parametrize(("beta", "samples", "codes"), [(0.5, 8, 30), (0.5, 30, 8), (1.0, 16, 16), (2.0, 1, 12)])
def test_n_proximal_steps_are_worth_an_entropic_regularisation_of_beta_over_n(beta, samples, codes):
    costs = cosine_costs(samples, codes, seed=3, dim=128)  # as concentrated as in a joint space
    proximal = IPOT(beta=beta, iterations=50)(costs).mass
    entropic = Sinkhorn(epsilon=beta / 50, iterations=5000, tolerance=1e-9)(costs).mass
    assert relative_l1(proximal, entropic) < 1e-3


@settings(max_examples=40)
@given(
    samples=st.integers(1, 7),
    codes=st.integers(1, 9),
    beta=st.floats(0.05, 2),
    iterations=st.integers(1, 30),
    inner=st.integers(1, 3),
    seed=seeds,
)
def test_ipot_is_the_algorithm(samples, codes, beta, iterations, inner, seed):
    costs = cosine_costs(samples, codes, seed)
    slow = torch.tensor(equations.ipot(costs.tolist(), beta, iterations, inner), dtype=torch.float64)
    assert torch.allclose(IPOT(beta, iterations, inner)(costs).mass, slow, rtol=1e-6, atol=1e-15)


@settings(max_examples=40)
@given(
    samples=st.integers(1, 7),
    codes=st.integers(1, 9),
    epsilon=st.floats(0.02, 2),
    iterations=st.integers(1, 40),
    seed=seeds,
)
def test_sinkhorn_is_the_algorithm(samples, codes, epsilon, iterations, seed):
    costs = cosine_costs(samples, codes, seed)
    slow = torch.tensor(equations.sinkhorn(costs.tolist(), epsilon, iterations), dtype=torch.float64)
    assert torch.allclose(Sinkhorn(epsilon, iterations, 0)(costs).mass, slow, rtol=1e-6, atol=1e-15)


def swav(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """The targets of SwAV's `distributed_sinkhorn` (its main_swav.py) for scores (N, K)."""
    q = np.exp(scores / epsilon).T
    q /= q.sum()
    for _ in range(iterations):
        q = q / q.sum(axis=1, keepdims=True) / len(q)
        q = q / q.sum(axis=0, keepdims=True) / q.shape[1]
    return (q * q.shape[1]).T


@given(samples=st.integers(1, 9), codes=st.integers(1, 9), iterations=st.integers(1, 5), seed=seeds)
def test_prototypes_scaled_first_are_the_targets_of_swav(samples, codes, iterations, seed):
    costs = cosine_costs(samples, codes, seed)
    plan = Sinkhorn(0.05, iterations, 0, prototypes_first=True)(costs)
    assert torch.allclose(plan.mass * samples, torch.from_numpy(swav(1 - costs.numpy(), 0.05, iterations)), rtol=1e-9)
    assert torch.allclose(plan.mass.sum(dim=1), torch.full((samples,), 1 / samples, dtype=torch.float64))


def test_the_order_of_scaling_shows_in_few_iterations_only():
    costs = cosine_costs(64, 100, seed=1, dim=32)
    differences = [
        (Sinkhorn(0.05, n, 0)(costs).targets() - Sinkhorn(0.05, n, 0, prototypes_first=True)(costs).targets())
        .abs()
        .max()
        for n in (3, 500)
    ]
    assert differences[0] > 1e-3
    assert differences[1] < 1e-6


def test_a_tiny_beta_is_solved_in_logarithms():
    """exp(-D/β) underflows float32 for whole columns; in logarithms the plan is the one that float64 finds."""
    beta = 0.004
    costs = 2 * cosine_costs(12, 20, seed=5).clamp(max=1)
    costs[:, 3] = 2  # a code that is far from every sample
    assert (torch.exp(-costs.float() / beta) == 0).all(dim=0).any()
    slow = torch.tensor(equations.ipot(costs.tolist(), beta, 20, 1), dtype=torch.float64)
    plan = IPOT(beta, iterations=20)(costs.float()).mass
    assert torch.isfinite(plan).all()
    assert relative_l1(plan.double(), slow) < 1e-3


def test_both_ways_of_computing_ipot_agree_where_they_meet():
    costs = cosine_costs(9, 14, seed=7)
    below, above = SMALLEST_SCALING_BETA * (1 - 1e-9), SMALLEST_SCALING_BETA
    assert relative_l1(IPOT(below, 20)(costs).mass, IPOT(above, 20)(costs).mass) < 1e-5


@pytest.mark.parametrize("solver", [IPOT(), Sinkhorn(epsilon=0.05)])
@pytest.mark.parametrize(("samples", "codes"), [(64, 1000), (100, 10), (1, 50), (1, 1), (50, 1)])
def test_mass_is_spread_uniformly_over_samples_and_codes(solver, samples, codes):
    plan = solver(cosine_costs(samples, codes, seed=11, dim=32).float())
    assert plan.marginal_error() < 2e-3
    assert torch.allclose(plan.targets().sum(dim=1), torch.ones(samples))
    assert (plan.mass >= 0).all()


@pytest.mark.parametrize("solver", [IPOT(), IPOT(beta=0.01), Sinkhorn()])
def test_plans_do_not_lose_precision_to_autocast_nor_pass_gradients(solver):
    costs = cosine_costs(8, 20, seed=1).float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        plan = solver(costs)
    assert plan.mass.dtype == torch.float32
    assert not plan.mass.requires_grad
    assert plan.mass.equal(solver(costs.detach()).mass)
    assert solver(costs.detach().bfloat16()).mass.dtype == torch.float32
