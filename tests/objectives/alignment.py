"""A tiny model of pretraining and a batch for it, without files."""

import json
from collections.abc import Mapping

import torch

from cbalign.data.batch import Batch
from cbalign.data.text import VocabularyInfo
from cbalign.engine.distribution import World
from cbalign.engine.task import Progress
from cbalign.experiment.experiment import Experiment
from cbalign.tasks.align.learner import AlignmentLearner
from cbalign.tasks.align.network import build_alignment

WORDS = VocabularyInfo(size=200, cls_id=1, mask_id=2)
BATCH, TOKENS, SIDE = 6, 9, 16
LATER = Progress(step=7, total_steps=20, steps_per_epoch=4)


def experiment(model: Mapping[str, object] | None = None, **objectives: object) -> Experiment:
    """A spec with these objectives; `model` replaces sections of the tiny model."""
    tower = {"width": 16, "heads": 2, "init": "random"}
    text = {"architecture": "bert-mini", "intermediate": 16, "dropout": 0.0, "tokenizer": "captions", "vocabulary": 200}
    values = {
        "cbalign": 1,
        "name": "tiny",
        "model": {
            "vision": {
                "kind": "timm",
                "architecture": "vit_tiny_patch16_224",
                "image_size": SIDE,
                "patch_size": 8,
                "layers": 1,
                **tower,
            },
            "text": {"kind": "bert", "layers": 1, **text, **tower},
            "fusion": {"layers": 1},
            "joint_dim": 8,
            "codebook": {"size": 5},
            "queue": {"length": 13},
            **(model or {}),
        },
        "objectives": objectives,
        "data": {"train": {"source": "csv", "files": ["pairs.csv"]}},
    }
    return Experiment.model_validate_json(json.dumps(values))


def without(*names: str) -> dict[str, dict[str, float]]:
    """Objectives of the spec that are off."""
    return {name: {"weight": 0} for name in names}


def learner(spec: Experiment, objectives=None, world: World | None = None) -> AlignmentLearner:
    """A learner of a new model, in training mode; `objectives` replace those of the spec."""
    torch.manual_seed(0)
    active = spec.objectives.active() if objectives is None else objectives
    model = build_alignment(spec.model, active, WORDS, legacy=spec.legacy, initialise=False)
    return AlignmentLearner(model.train(), active, spec.model.teacher, spec.train.optimizer, world or World.single())


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(5, WORDS.size, (BATCH, TOKENS), generator=generator)
    input_ids[:, 0] = WORDS.cls_id
    return Batch(
        images=torch.randint(256, (BATCH, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8),
        teacher_images=None,
        input_ids=input_ids,
        attention_mask=torch.ones(BATCH, TOKENS, dtype=torch.int64),
        image_ids=torch.arange(BATCH),
        indices=torch.arange(BATCH),
    )
