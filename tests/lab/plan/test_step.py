"""What a plan says of a step, against steps that really run."""

import gc
import json

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from cbalign.data.batch import Batch
from cbalign.data.text import VocabularyInfo
from cbalign.engine.distribution import World
from cbalign.engine.precision import autocast
from cbalign.engine.task import Progress
from cbalign.experiment.experiment import Experiment
from cbalign.lab.plan.captions import CaptionLengths
from cbalign.lab.plan.step import measure_step
from cbalign.lab.plan.training import planned as planned_task
from cbalign.lab.plan.training import untrained
from cbalign.tasks.kit import kit_of

WORDS, QUEUE, TOKENS = 1000, 256, 16
LATER = Progress(step=1000, total_steps=1001, steps_per_epoch=1, logged=False)


def experiment(*, width, layers, batch, image_size, precision):
    text = {"architecture": "bert-mini", "init": "random", "tokenizer": "captions", "vocabulary": WORDS}
    return Experiment.model_validate_json(
        json.dumps(
            {
                "cbalign": 1,
                "name": "planned",
                "model": {
                    "vision": {
                        "kind": "timm",
                        "architecture": "vit_tiny_patch16_224",
                        "image_size": image_size,
                        "layers": layers,
                        "width": width,
                        "heads": width // 32,
                        "init": "random",
                    },
                    "text": {"kind": "bert"}
                    | text
                    | {"layers": layers, "width": width, "heads": width // 32, "intermediate": 4 * width}
                    | {"max_tokens": TOKENS},
                    "fusion": {"layers": layers},
                    "joint_dim": 64,
                    "codebook": {"size": 64},
                    "queue": {"length": QUEUE},
                },
                "data": {"train": {"source": "openmoji", "split": "train"}},
                "train": {"batch_size": batch, "precision": precision, "device": "cpu"},
            }
        )
    )


def planned(spec, *, accumulates=False):
    with torch.device("meta"):
        model = kit_of(spec).build_model(spec, VocabularyInfo(WORDS, cls_id=1, mask_id=2), initialise=False)
    return measure_step(spec, model, CaptionLengths.assumed(TOKENS), processes=1, accumulates=accumulates)


def real_step(spec, *, accumulates=False):
    """A function that makes one real step with full captions and full queues, onto gradients or without."""
    torch.manual_seed(0)
    model = kit_of(spec).build_model(spec, VocabularyInfo(WORDS, cls_id=1, mask_id=2), initialise=False).train()
    for queue in (model.image_queue, model.text_queue):
        queue.push(torch.randn(QUEUE, 64), torch.arange(QUEUE))
    learner = kit_of(spec).learner(spec, model, VocabularyInfo(WORDS, cls_id=1, mask_id=2), World.single())
    size, side = spec.train.batch_size, spec.model.vision.image_size

    if accumulates:
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None

    def step():
        if not accumulates:
            model.zero_grad(set_to_none=True)
        batch = Batch(
            images=torch.zeros(size, 3, side, side, dtype=torch.uint8),
            teacher_images=torch.zeros(size, 3, side, side, dtype=torch.uint8),
            input_ids=torch.randint(5, WORDS, (size, TOKENS)),
            attention_mask=torch.ones(size, TOKENS, dtype=torch.int64),
            image_ids=torch.arange(size),
            indices=torch.arange(size),
        )
        learner.before_step(LATER)
        with autocast(torch.device("cpu"), spec.train.precision):
            output = learner.step(batch, LATER)
        torch.autograd.backward(output.loss)

    return step


def peak_of_allocator(step):
    """The most bytes that torch's allocator had given out at once, by its own events."""
    gc.collect()  # what earlier tests left would be given back meanwhile
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("width", "layers", "batch", "image_size"),
    [
        (64, 1, 8, 64),
        (128, 2, 16, 96),
        pytest.param(192, 3, 32, 128, marks=pytest.mark.slow),
    ],
)
def test_operations_and_memory_are_those_of_a_real_step(width, layers, batch, image_size, precision):
    spec = experiment(width=width, layers=layers, batch=batch, image_size=image_size, precision=precision)
    cost = planned(spec)
    step = real_step(spec)
    with FlopCounterMode(display=False) as counter:
        step()
    assert cost.operations == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert cost.working_bytes == pytest.approx(peak_of_allocator(step), rel=0.05)


def test_operations_of_terms_that_some_steps_leave_out_are_averaged():
    def with_every(matching, masked_language):
        spec = experiment(width=64, layers=1, batch=8, image_size=64, precision="fp32")
        values = spec.model_dump(mode="json")
        for name, every in (("matching", matching), ("masked_language", masked_language)):
            values["objectives"][name]["every"] = every
        return planned(Experiment.model_validate_json(json.dumps(values)))

    always, never = with_every(1, 1), with_every(1000, 1000)
    half, apart = with_every(2, 2), with_every(2, 4)
    assert half.operations == pytest.approx((always.operations + never.operations) / 2, rel=0.01)
    assert never.operations < apart.operations < half.operations
    assert half.working_bytes == always.working_bytes


def test_gradients_of_earlier_micro_batches_are_there_from_the_start():
    spec = experiment(width=128, layers=2, batch=8, image_size=64, precision="fp32")
    with torch.device("meta"):
        model = kit_of(spec).build_model(spec, VocabularyInfo(WORDS, cls_id=1, mask_id=2), initialise=False)
    gradients = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    beyond = peak_of_allocator(real_step(spec, accumulates=True))  # they were allocated before
    assert planned(spec, accumulates=True).working_bytes == pytest.approx(gradients + beyond, rel=0.05)


@pytest.mark.parametrize(
    ("task", "source"),
    [
        ({"kind": "nlvr2"}, {"source": "nlvr2", "files": ["a.json"]}),
        ({"kind": "nlvr2", "stage": "text-assignment"}, {"source": "openmoji", "split": "train"}),
        ({"kind": "entailment"}, {"source": "snli-ve", "files": ["a.json"]}),
        ({"kind": "vqa"}, {"source": "easy-vqa", "split": "train"}),
    ],
    ids=["nlvr2", "text-assignment", "entailment", "vqa"],
)
def test_every_task_is_planned_as_it_runs(task, source):
    plain = experiment(width=64, layers=2, batch=8, image_size=64, precision="fp32")
    values = plain.model_dump(mode="json", exclude_none=True)
    values |= {"task": task, "data": {"train": source, "augmentation": {"two_views": False}}}
    spec = Experiment.model_validate_json(json.dumps(values))
    with torch.device("meta"):
        empty = untrained(spec, WORDS)
    cost = measure_step(spec, empty, CaptionLengths.assumed(TOKENS), processes=1, accumulates=False)
    torch.manual_seed(0)
    model = untrained(spec, WORDS).train()

    def step():
        real = planned_task(spec, model, TOKENS, World.single())
        real.learner.before_step(LATER)
        torch.autograd.backward(real.learner.step(real.batch, LATER).loss)

    with FlopCounterMode(display=False) as counter:
        step()
    model.zero_grad(set_to_none=True)
    assert cost.operations == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert cost.working_bytes == pytest.approx(peak_of_allocator(step), rel=0.05)
    taught = task.get("stage") is None
    assert (cost.teacher > 0) == taught
    if taught:
        assert cost.teacher == pytest.approx(cost.image_tower + cost.text_tower + cost.fusion + cost.other, rel=1e-6)
    else:
        assert cost.fusion > 0


def test_parts_add_up_and_a_switched_off_term_costs_nothing():
    spec = experiment(width=64, layers=1, batch=8, image_size=64, precision="fp32")
    whole = planned(spec)
    none = {"weight": 0.0}
    terms = spec.objectives
    bare = spec.model_copy(
        update={
            "objectives": terms.model_copy(
                update={name: getattr(terms, name).model_copy(update=none) for name in ("matching", "masked_language")}
            )
        }
    )
    less = planned(bare)
    assert less.fusion == 0
    assert less.image_tower == whole.image_tower
    assert less.text_tower == whole.text_tower // 2  # the masked captions are not read
    assert less.working_bytes < whole.working_bytes
