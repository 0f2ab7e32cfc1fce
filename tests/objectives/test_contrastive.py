from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cbalign.engine.distribution import World
from cbalign.objectives.contrastive import instance_alignment, paired_positives, shared_positives
from cbalign.objectives.features import Embeddings, Keys
from cbalign.objectives.step import Step
from tests.objectives import equations
from tests.objectives.alignment import BATCH, LATER, batch, experiment, learner
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


class SecondOfTwo(World):
    """The second of two processes, without the first: its rows are these features turned round."""

    def gather(self, tensor):
        return torch.cat([tensor.flip(0), tensor])


@pytest.mark.parametrize("positives", ["image", "pair"])
@pytest.mark.parametrize("over", ["batch", "global_batch"])
def test_a_sample_is_compared_with_the_batch_of_its_own_device_or_of_all(over, positives):
    trained = learner(experiment(contrastive={"contrast_over": over, "positives": positives}))
    ids = torch.tensor([0, 0, 1, 2, 3, 4])
    trained.step(replace(batch(1), image_ids=ids), LATER)  # fills the queue
    trained.model.eval()
    world = SecondOfTwo(rank=1, size=2, device=torch.device("cpu"))
    step = Step(trained.model, replace(batch(), image_ids=ids), LATER, world, distillation=0.4)
    loss = trained.model.terms["contrastive"](step).loss

    own = step.embeddings, step.teacher_embeddings
    v, t, teacher_v, teacher_t = (x.double().tolist() for e in own for x in (e.image, e.text))
    (image_queue, queue_ids), (text_queue, _) = (
        trained.model.image_queue.contents(),
        trained.model.text_queue.contents(),
    )
    image_queue, text_queue, queue_ids = image_queue.tolist(), text_queue.tolist(), queue_ids.tolist()
    if over == "global_batch":  # the order of keys does not matter: those of the other process after one's own
        image_queue, text_queue = teacher_v[::-1] + image_queue, teacher_t[::-1] + text_queue
        queue_ids = ids.flip(0).tolist() + queue_ids
    targets = (
        equations.positives_by_image(ids.tolist(), queue_ids)
        if positives == "image"
        else equations.positives_by_pair(BATCH, len(queue_ids))
    )
    temperature = step.temperature.item()
    expected = equations.instance_alignment(
        v, t, teacher_v, teacher_t, image_queue, text_queue, targets, temperature, 0.4, intra_modal=True, mean=True
    )
    assert close(loss.item(), expected)


@pytest.mark.parametrize("decayed", [False, True])
def test_the_temperature_has_weight_decay_on_request(decayed):
    spec = experiment()
    temperature = spec.model.temperature.model_copy(update={"decayed": decayed})
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"temperature": temperature})})
    trained = learner(spec)
    found = [g.weight_decay for g in trained.parameter_groups() if trained.model.temperature.value in set(g.parameters)]
    assert found == [0.02 if decayed else 0.0]
