import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cbalign.models.transport import IPOT, Sinkhorn
from cbalign.objectives.codebook import codebook_alignment
from cbalign.objectives.features import Embeddings
from tests.objectives import equations
from tests.objectives.tensors import close, seeds, unit_vectors


@given(
    before=st.integers(0, 3),
    batch=st.integers(1, 4),
    after=st.integers(0, 5),
    codes=st.integers(1, 9),
    dim=st.integers(1, 5),
    temperature=st.floats(0.05, 1.0),
    target=st.sampled_from(["cross", "same", "both"]),
    solver=st.sampled_from(["ipot", "sinkhorn"]),
    inner=st.integers(1, 3),
    seed=seeds,
)
def test_codebook_alignment_is_the_equations(
    before, batch, after, codes, dim, temperature, target, solver, inner, seed
):
    """N below, at and above K; other ranks' features before ours, the queue behind."""
    v, t = (unit_vectors(batch, dim, seed + i) for i in range(2))
    teacher_v, teacher_t = (unit_vectors(before + batch + after, dim, seed + 2 + i) for i in range(2))
    prototypes = unit_vectors(codes, dim, seed + 4)
    fast = codebook_alignment(
        Embeddings(v, t),
        Embeddings(teacher_v, teacher_t),
        prototypes,
        temperature,
        IPOT(0.5, 20, inner) if solver == "ipot" else Sinkhorn(0.1, 30, tolerance=0),
        target=target,
        first=before,
    )
    lists = [x.tolist() for x in (v, t, teacher_v, teacher_t, prototypes)]
    plans = [
        equations.ipot(costs, 0.5, 20, inner) if solver == "ipot" else equations.sinkhorn(costs, 0.1, 30)
        for costs in (equations.transport_costs(teacher, lists[4]) for teacher in lists[2:4])
    ]
    moved, predicted = equations.codebook_loss(lists[0], lists[1], *plans, *lists[2:], temperature, target, before)
    assert close(fast.transport, moved, 1e-9)
    assert close(fast.prediction, predicted, 1e-9)
    assert close(fast.loss, moved + predicted, 1e-9)


@pytest.mark.parametrize("target", ["cross", "same", "both"])
def test_prototypes_move_as_if_the_plans_were_constants(target):
    """Finite differences of the slow loss at fixed plans."""
    v, t, teacher_v, teacher_t = (unit_vectors(3, 4, i) for i in range(4))
    prototypes = unit_vectors(5, 4, 9).requires_grad_()
    solver = IPOT()
    result = codebook_alignment(
        Embeddings(v, t), Embeddings(teacher_v, teacher_t), prototypes, 0.1, solver, target=target
    )
    result.loss.backward()
    plans = [result.image_plan.mass.tolist(), result.text_plan.mass.tolist()]
    lists = [x.tolist() for x in (v, t, teacher_v, teacher_t)]

    def slow(moved: torch.Tensor) -> float:
        return sum(equations.codebook_loss(lists[0], lists[1], *plans, *lists[2:], moved.tolist(), 0.1, target, 0))

    step = 1e-6
    for k in range(5):
        for d in range(4):
            nudge = torch.zeros(5, 4, dtype=torch.float64)
            nudge[k, d] = step
            numeric = (slow(prototypes.detach() + nudge) - slow(prototypes.detach() - nudge)) / (2 * step)
            assert prototypes.grad[k, d].item() == pytest.approx(numeric, rel=1e-5, abs=1e-6)


def test_transport_moves_only_the_prototypes():
    v, t, teacher_v, teacher_t = (unit_vectors(3, 4, i).requires_grad_(i < 2) for i in range(4))
    prototypes = unit_vectors(5, 4, 9).requires_grad_()
    result = codebook_alignment(
        Embeddings(v, t), Embeddings(teacher_v, teacher_t), prototypes, 0.1, IPOT(), target="cross"
    )
    moved, *students = torch.autograd.grad(result.transport, [prototypes, v, t], allow_unused=True, retain_graph=True)
    assert moved.abs().sum() > 0
    assert students == [None, None]
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(result.prediction, [prototypes, v, t]))
