import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cbalign.objectives.contrastive import instance_alignment, paired_positives, shared_positives
from cbalign.objectives.features import Embeddings, Keys
from tests.objectives import equations
from tests.objectives.tensors import close, seeds, unit_vectors


@given(
    batch=st.integers(1, 5),
    queue=st.integers(0, 7),
    dim=st.integers(1, 6),
    temperature=st.floats(0.02, 0.5),
    alpha=st.sampled_from([0.0, 0.4, 1.0]),
    intra_modal=st.booleans(),
    reduction=st.sampled_from(["mean", "sum"]),
    by_image=st.booleans(),
    images=st.integers(1, 4),
    seed=seeds,
)
def test_instance_alignment_is_the_equations(
    batch, queue, dim, temperature, alpha, intra_modal, reduction, by_image, images, seed
):
    v, t, teacher_v, teacher_t = (unit_vectors(batch, dim, seed + i) for i in range(4))
    image_queue, text_queue = (unit_vectors(queue, dim, seed + 4 + i) for i in range(2))
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(images, (batch,), generator=draw)  # fewer images than pairs: captions share them
    queue_ids = torch.randint(-1, images, (queue,), generator=draw)
    key_ids = torch.cat([ids, queue_ids])
    fast = instance_alignment(
        Embeddings(v, t),
        Embeddings(teacher_v, teacher_t),
        Keys(torch.cat([teacher_v, image_queue]), key_ids),
        Keys(torch.cat([teacher_t, text_queue]), key_ids),
        shared_positives(ids, key_ids) if by_image else paired_positives(batch, batch + queue, 0, ids),
        torch.tensor(temperature, dtype=torch.float64),
        distillation=alpha,
        intra_modal=intra_modal,
        reduction=reduction,
    )
    positives = (
        equations.positives_by_image(ids.tolist(), queue_ids.tolist())
        if by_image
        else equations.positives_by_pair(batch, queue)
    )
    slow = equations.instance_alignment(
        *(x.tolist() for x in (v, t, teacher_v, teacher_t, image_queue, text_queue)),
        positives,
        temperature,
        alpha,
        intra_modal,
        reduction == "mean",
    )
    assert close(fast, slow)


def test_the_second_rank_finds_its_pairs_behind_those_of_the_first():
    targets = paired_positives(2, 6, first=2, like=torch.zeros(2))
    assert targets.tolist() == [[0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]]


def test_queued_features_of_no_image_are_nobodys_positive():
    targets = shared_positives(torch.tensor([3, 5]), torch.tensor([3, 5, -1, 3]))
    assert targets.tolist() == [[0.5, 0, 0, 0.5], [0, 1, 0, 0]]


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_gradients_reach_student_and_temperature_but_never_the_teacher(alpha):
    v, t, teacher_v, teacher_t = (unit_vectors(3, 4, i).requires_grad_() for i in range(4))
    temperature = torch.tensor(0.07, dtype=torch.float64, requires_grad=True)
    keys = [Keys(z.detach(), torch.arange(3)) for z in (teacher_v, teacher_t)]
    instance_alignment(
        Embeddings(v, t),
        Embeddings(teacher_v, teacher_t),
        *keys,
        paired_positives(3, 3, 0, v),
        temperature,
        distillation=alpha,
        intra_modal=True,
        reduction="mean",
    ).backward()
    assert all(z.grad is not None and z.grad.abs().sum() > 0 for z in (v, t, temperature))
    assert teacher_v.grad is None
    assert teacher_t.grad is None
