"""CLIP's and SigLIP's losses: the student is compared with itself, and there is no teacher."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cbalign.models.momentum import teacher_parameters
from cbalign.objectives.clip import symmetric_contrast
from cbalign.objectives.contrastive import paired_positives, shared_positives
from cbalign.objectives.features import Embeddings
from cbalign.objectives.siglip import sigmoid_contrast
from tests.objectives import equations
from tests.objectives.alignment import BATCH, LATER, batch, experiment, learner, without
from tests.objectives.tensors import close, numeric_gradient, seeds, unit_vectors

OTHERS = ("contrastive", "codebook", "matching", "masked_language")


def alone(name: str, **model):
    """An experiment with one objective."""
    return experiment({"queue": {"length": 0}, **model}, **{name: {}}, **without(*OTHERS))


@given(
    size=st.integers(1, 5),
    dim=st.integers(1, 5),
    temperature=st.floats(0.02, 0.5),
    images=st.integers(1, 4),
    by_image=st.booleans(),
    seed=seeds,
)
def test_symmetric_contrast_is_the_equation(size, dim, temperature, images, by_image, seed):
    v, t = unit_vectors(size, dim, seed), unit_vectors(size, dim, seed + 1)
    ids = torch.randint(images, (size,), generator=torch.Generator().manual_seed(seed))
    targets = shared_positives(ids, ids) if by_image else paired_positives(size, size, 0, ids)
    positives = equations.positives_by_image(ids.tolist(), []) if by_image else equations.positives_by_pair(size, 0)
    own = Embeddings(v, t)
    fast = symmetric_contrast(own, own, targets, torch.tensor(temperature, dtype=torch.float64))
    assert close(fast, equations.symmetric_contrast(v.tolist(), t.tolist(), positives, temperature))


@given(
    size=st.integers(1, 5),
    dim=st.integers(1, 5),
    scale=st.floats(1, 30),
    bias=st.floats(-12, 2),
    images=st.integers(1, 4),
    by_image=st.booleans(),
    seed=seeds,
)
def test_sigmoid_contrast_is_the_equation(size, dim, scale, bias, images, by_image, seed):
    v, t = unit_vectors(size, dim, seed), unit_vectors(size, dim, seed + 1)
    ids = torch.randint(images, (size,), generator=torch.Generator().manual_seed(seed))
    positive = ids[:, None] == ids[None, :] if by_image else torch.eye(size) > 0
    fast = sigmoid_contrast(v, t, positive, torch.tensor(scale, dtype=torch.float64), torch.tensor(bias))
    slow = equations.sigmoid_contrast(v.tolist(), t.tolist(), ids.tolist() if by_image else None, scale, bias)
    assert close(fast, slow)


def test_gradients_reach_both_sides_of_every_similarity():
    """Those of the slow losses, by differences: in CLIP's code too, nothing is detached."""
    v, t = (unit_vectors(4, 3, seed).requires_grad_() for seed in range(2))
    temperature = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    own = Embeddings(v, t)
    loss = symmetric_contrast(own, own, torch.eye(4, dtype=torch.float64), temperature)
    eye = equations.positives_by_pair(4, 0)
    slow = lambda v, t, gamma: equations.symmetric_contrast(v.tolist(), t.tolist(), eye, float(gamma))  # noqa: E731
    expect_gradients(loss, (v, t, temperature), slow)


def test_gradients_of_the_sigmoids_reach_both_sides_and_their_parameters():
    v, t = (unit_vectors(4, 3, seed).requires_grad_() for seed in range(2))
    scale, bias = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (7.0, -2.0))
    loss = sigmoid_contrast(v, t, torch.eye(4) > 0, scale, bias)
    slow = lambda v, t, s, b: equations.sigmoid_contrast(v.tolist(), t.tolist(), None, float(s), float(b))  # noqa: E731
    expect_gradients(loss, (v, t, scale, bias), slow)


def expect_gradients(loss, inputs, slow):
    gradients = torch.autograd.grad(loss, inputs)
    fixed = [x.detach() for x in inputs]
    for i, gradient in enumerate(gradients):
        numeric = numeric_gradient(lambda x, i=i: slow(*fixed[:i], x, *fixed[i + 1 :]), fixed[i])
        torch.testing.assert_close(gradient, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_a_model_without_teacher_has_no_copy_of_the_student(name):
    learns = learner(alone(name))
    model = learns.model
    assert teacher_parameters(model) == []
    assert not any("teacher" in key for key in model.state_dict())
    passes = []
    model.student.vision.register_forward_hook(lambda *_: passes.append("image"))
    model.student.text.register_forward_hook(lambda *_: passes.append("text"))
    learns.before_step(LATER)
    learns.step(batch(), LATER).loss.backward()
    assert sorted(passes) == ["image", "text"]  # one pass of each tower, and no other
    assert all(p.grad is not None for p in model.student.vision.parameters())


def test_without_teacher_matching_and_masked_words_use_the_student():
    model = {"queue": {"length": 0}, "teacher": {"enabled": False, "ramp_epochs": 0.0}}
    learns = learner(experiment(model, clip={"positives": "image"}, **without("contrastive", "codebook")))
    output = learns.step(batch(), LATER)
    assert output.terms.keys() == {"clip", "matching", "masked_language"}
    assert learns.distillation(LATER) == 0
    assert not any("teacher" in key for key in learns.model.state_dict())
    output.loss.backward()


def test_a_logarithmic_temperature_is_clamped_as_the_temperature():
    learns = learner(alone("clip", temperature={"initial": 0.07, "parameter": "logarithm", "minimum": 0.01}))
    temperature = learns.model.temperature
    assert temperature.value.item() == pytest.approx(0.07)
    learns.step(batch(), LATER).loss.backward()
    assert temperature.logarithm.grad.abs() > 0
    for far, clamped in ((-9.0, 0.01), (2.0, 0.5)):
        temperature.logarithm.data.fill_(far)
        learns.after_step(LATER)
        assert temperature.value.item() == pytest.approx(clamped)


@pytest.mark.parametrize(
    ("objectives", "model", "message"),
    [
        ({"clip": {}, **without("codebook")}, {"teacher": {"enabled": False}}, "objectives.contrastive compares with"),
        ({"siglip": {}, **without(*OTHERS)}, {"queue": {"length": 8}}, "set model.queue.length: 0"),
    ],
)
def test_what_needs_a_teacher_is_refused_without_one(objectives, model, message):
    with pytest.raises(ValidationError, match=message):
        experiment({"queue": {"length": 0}, **model}, **objectives)


def test_every_caption_of_an_image_counts_as_a_positive():
    """Two captions of each image: both share the target, so that the loss is that of the equation."""
    learns = learner(experiment({"queue": {"length": 0}}, clip={"positives": "image"}, **without(*OTHERS)))
    pairs = dataclasses.replace(batch(), image_ids=torch.arange(BATCH) // 2)
    with torch.no_grad():
        step = learns.begin(pairs, LATER)
        found = learns.step(pairs, LATER).terms["clip"]
        v, t, gamma = step.image_embedding.tolist(), step.text_embedding.tolist(), float(step.temperature)
    assert close(found, equations.symmetric_contrast(v, t, equations.positives_by_image([0, 0, 1, 1, 2, 2], []), gamma))
