"""Networks run once, in passes that objectives share, and only if one of them asks."""

import pytest
import torch

from cbalign.engine.distribution import World
from cbalign.engine.task import Progress
from cbalign.objectives.step import FusionRequest, Step, TextRequest
from tests.objectives.alignment import LATER, batch, experiment, learner, without
from tests.objectives.test_objective import count_calls

FIRST = Progress(step=0, total_steps=20, steps_per_epoch=4)  # α is 0
STUDENT = {"student.vision": 1, "student.text": 1}
TEACHER = {"teacher.vision": 1, "teacher.text": 1}


@pytest.mark.parametrize(
    ("off", "progress", "calls"),
    [
        ((), LATER, STUDENT | TEACHER | {"student.fusion": 2, "teacher.fusion": 1}),
        ((), FIRST, STUDENT | TEACHER | {"student.fusion": 2}),
        (("matching",), LATER, STUDENT | TEACHER | {"student.fusion": 1, "teacher.fusion": 1}),
        (("matching", "masked_language"), LATER, STUDENT | TEACHER),
        (("contrastive", "codebook", "matching"), FIRST, STUDENT | {"student.fusion": 1}),
        (
            ("contrastive", "codebook", "matching"),
            LATER,
            STUDENT | TEACHER | {"student.fusion": 1, "teacher.fusion": 1},
        ),
    ],
)
def test_passes(off, progress, calls):
    trained = learner(experiment(**without(*off)))
    called = count_calls(trained.model)
    trained.step(batch(), progress).loss.backward()
    assert called == calls


def test_masked_words_alone_need_no_captions():
    trained = learner(experiment(**without("contrastive", "codebook", "matching")))
    rows = []
    trained.model.student.text.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    trained.step(batch(), LATER)
    assert rows == [len(batch())]


def test_queues_take_the_features_of_a_step_after_all_objectives_have_read_them():
    trained = learner(experiment())
    given = batch()
    trained.step(given, LATER)
    queue = trained.model.image_queue
    assert int(queue.filled) == len(given)
    step = new_step(trained, given)
    assert len(step.keys.images.features) == 2 * len(given)
    assert int(queue.filled) == len(given)
    step.push_queues()
    assert int(queue.filled) == 2 * len(given)


def test_queues_stay_as_they_are_where_nobody_reads_the_keys():
    trained = learner(experiment(**without("contrastive")))
    trained.step(batch(), LATER)
    assert int(trained.model.text_queue.filled) == 0


def test_features_have_the_precision_and_gradients_of_the_step_wherever_they_are_asked_for():
    trained = learner(experiment())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = new_step(trained, batch())
        with step.full_precision(), torch.no_grad():
            tokens, taught = step.text_tokens, step.teacher.text_tokens
            hidden = step.student.towers.text.layers[0].feed_forward.expand
            seen = []
            hidden.register_forward_hook(lambda _, __, result: seen.append(result.dtype))
            step.encoded(TextRequest(step.batch.input_ids, step.batch.attention_mask))
    assert seen == [torch.bfloat16]
    assert tokens.requires_grad
    assert not taught.requires_grad


def test_fusions_are_those_of_their_rows():
    """What is fused in shared passes is what is fused alone."""
    trained = learner(experiment())
    trained.model.eval()
    step, images = new_step(trained, batch()), torch.tensor([1, 0, 3, 2, 5, 4])
    requests = [
        FusionRequest(step.captions),
        FusionRequest(step.captions, texts=images),
        FusionRequest(step.captions, images=images),
        FusionRequest(TextRequest(step.batch.input_ids.flip(0), step.batch.attention_mask)),
        FusionRequest(step.captions, texts=images[:2], images=images[2:4]),
    ]
    step.expect(requests)
    shared = [step.fused(request) for request in requests]
    for request, together in zip(requests, shared):
        alone = new_step(trained, batch())
        text = alone.captions if request.text is step.captions else request.text
        found = alone.fused(FusionRequest(text, request.texts, request.images))
        torch.testing.assert_close(together, found)


def new_step(trained, given):
    return Step(trained.model, given, LATER, World.single(), distillation=0.4)
