"""The published recipes, at full size."""

import math
from pathlib import Path

import pytest
import torch

from cbalign.data.text import VocabularyInfo
from cbalign.experiment.load import load_experiment
from cbalign.lab.plan.gpus import GPUS
from cbalign.lab.plan.plan import make_plan
from cbalign.tasks.kit import kit_of

FOLDER = Path(__file__).parents[3] / "experiments" / "paper"
RECIPES = sorted(FOLDER.glob("*.yaml"))
PAIRS = 5_114_489
GPU = GPUS["a100-40gb"]
WIDTH, TOKENS, WORDS = 768, 25, 30_522
VOCABULARY = VocabularyInfo(WORDS, cls_id=101, mask_id=103)
PATCHES = 257  # (256 / 16)² and [CLS]


@pytest.fixture(scope="module")
def albef():
    """The plan of ALBEF's pretraining on 8 GPUs."""
    return make_plan(load("pretrain-4m-albef.yaml"), [GPU], devices=8, pairs=PAIRS)


def load(name):
    return load_experiment(FOLDER / name, check_files=False, environment={})


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_valid_where_there_are_no_data(recipe):
    assert load(recipe.name).experiment.name.startswith(("codis-", "albef-"))


def test_the_albef_recipes_are_albef():
    for recipe in FOLDER.glob("*-albef.yaml"):
        experiment = load(recipe.name).experiment
        if not experiment.task.aligns:
            continue  # other tasks have losses of their own
        terms = experiment.objectives
        assert not terms.contrastive.intra_modal
        assert terms.contrastive.reduction == "mean"
        assert terms.codebook.weight == 0


def test_albef_trains_209_9_million_parameters(albef):
    assert albef.sizes.trainable / 1e6 == pytest.approx(209.9, abs=0.05)
    # The match head (768·2 + 2) and the temperature have no teacher.
    assert albef.sizes.teacher == albef.sizes.trainable - (WIDTH * 2 + 2) - 1


def test_codis_adds_its_codebook_only(albef):
    with torch.device("meta"):
        experiment = load("pretrain-4m.yaml").experiment
        codis = kit_of(experiment).build_model(experiment, VOCABULARY, initialise=False)
    trained = sum(p.numel() for p in codis.parameters() if p.requires_grad)
    assert trained - albef.sizes.trainable == 4000 * 256


def linear(tokens, inputs, outputs):
    return 2 * tokens * inputs * outputs


def attention(queries, keys):
    return 2 * 2 * queries * keys * WIDTH


def block(tokens):
    """A transformer block: four projections, attention, an MLP of four times the width."""
    projections = 4 * linear(tokens, WIDTH, WIDTH)
    return projections + attention(tokens, tokens) + 2 * linear(tokens, WIDTH, 4 * WIDTH)


def test_operations_are_those_counted_by_hand(albef):
    """Per pair: ViT-B/16, six BERT layers on the caption and on its masked form, four passes of six fusion layers."""
    batch = albef.experiment.train.batch_size
    image = linear(256, 3 * 16 * 16, WIDTH) + 12 * block(PATCHES)
    text = 2 * 6 * block(TOKENS)
    cross = 2 * linear(TOKENS, WIDTH, WIDTH) + attention(TOKENS, PATCHES)
    read = 2 * linear(PATCHES, WIDTH, WIDTH)  # keys and values, once per image and layer
    fusion = 6 * (4 * (block(TOKENS) + cross) + read)
    words = 0.15 * (TOKENS - 1) * 2 * (WIDTH * WORDS + WIDTH * WIDTH)
    teacher = image + text + 6 * (block(TOKENS) + cross + read) + words
    step = albef.step
    assert step.image_tower / batch == pytest.approx(image, rel=1e-3)
    assert step.text_tower / batch == pytest.approx(text, rel=1e-3)
    assert step.fusion / batch == pytest.approx(fusion, rel=1e-3)
    assert step.teacher / batch == pytest.approx(teacher, rel=1e-2)
    # Twice the student's forward pass, a little more for attention that is computed again.
    assert step.backward / batch == pytest.approx(2 * (image + text + fusion + words), rel=0.03)


def test_memory_that_follows_from_the_parameters(albef):
    memory, trained = albef.memory, albef.sizes.trainable
    assert memory.weights == memory.gradients == memory.buckets == 4 * trained
    assert memory.optimizer == 8 * trained
    assert memory.teacher == 4 * albef.sizes.teacher
    assert memory.queues == pytest.approx(2 * 65_536 * (256 * 4 + 8), rel=0.01)
    assert albef.disk.checkpoint == pytest.approx(12 * trained + memory.teacher + memory.queues, rel=0.001)


def test_steps_and_hours(albef):
    assert albef.length.steps_per_epoch == PAIRS // 512
    assert albef.length.total_steps == 30 * (PAIRS // 512)
    assert albef.length.samples == albef.length.total_steps * 512
    operations = albef.step.operations * albef.length.total_steps  # of one GPU
    assert albef.gpus[0].hours == pytest.approx(operations / (0.35 * 312e12) / 3600)
    assert albef.gpus[0].fits


def test_the_schedule_peaks_after_the_warm_up(albef):
    assert albef.schedule(0) == pytest.approx(1e-5)
    assert albef.schedule(2001) == pytest.approx(1e-4)
    last = 1e-5 + 9e-5 * (1 + math.cos(math.pi * 29 / 30)) / 2  # the cosine moves once per epoch
    assert albef.schedule(albef.length.total_steps - 1) == pytest.approx(last)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["pretrain-4m.yaml", "pretrain-4m-albef.yaml"])
def test_a_full_size_step_really_runs(recipe):
    """Batch 2 with random weights on the CPU: every loss finite, every trained part moved."""
    from cbalign.data.batch import Batch
    from cbalign.engine.distribution import World
    from cbalign.engine.optimizer import build_adamw, set_learning_rate
    from cbalign.engine.task import Progress

    experiment = load(recipe).experiment
    torch.manual_seed(0)
    model = kit_of(experiment).build_model(experiment, VOCABULARY, initialise=False).train()
    learner = kit_of(experiment).learner(experiment, model, VOCABULARY, World.single())
    optimizer = build_adamw(learner.parameter_groups(), experiment.train.optimizer)
    set_learning_rate(optimizer, 1e-4)
    views = torch.randint(256, (2, 2, 3, 256, 256), dtype=torch.uint8)
    batch = Batch(
        images=views[0],
        teacher_images=views[1] if experiment.data.augmentation.two_views else None,
        input_ids=torch.randint(1000, WORDS, (2, TOKENS)),
        attention_mask=torch.ones(2, TOKENS, dtype=torch.int64),
        image_ids=torch.arange(2),
        indices=torch.arange(2),
    )
    progress = Progress(step=1, total_steps=10, steps_per_epoch=1)
    watched = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad and p.ndim == 1}
    learner.before_step(progress)
    output = learner.step(batch, progress)
    output.loss.backward()
    optimizer.step()
    learner.after_step(progress)
    assert all(torch.isfinite(term) for term in output.terms.values())
    assert {"contrastive", "matching", "masked_language"} <= set(output.terms)
    parameters = dict(model.named_parameters())
    still = [name for name, before in watched.items() if torch.equal(parameters[name], before)]
    # A bias of keys shifts all scores of a query alike: its gradient is rounding, if anything.
    assert [name for name in still if ".key.bias" not in name] == []
