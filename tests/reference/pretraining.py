"""Pretraining steps and retrieval fine-tuning, by the learner that trains them, with the recorded draws."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cbalign.data.batch import Batch
from cbalign.data.text import VocabularyInfo
from cbalign.engine.distribution import World
from cbalign.engine.task import Progress
from cbalign.experiment.experiment import Experiment
from cbalign.models.albef import from_albef
from cbalign.models.vision import resize_positions
from cbalign.objectives.masked_language import MaskedTokens
from cbalign.objectives.negatives import HardNegatives, Negatives
from cbalign.objectives.step import FusionRequest, Step
from cbalign.tasks.align.learner import AlignmentLearner
from cbalign.tasks.align.network import AlignmentModel
from cbalign.tasks.kit import kit_of
from tests.reference.folder import GRADIENT_TOLERANCE, AnotherFormError, Reference
from tests.reference.networks import DROPOUT, bert_layers, count, filled, tensor

FIRST_STEP = Progress(step=0, total_steps=1, steps_per_epoch=1)
RETRIEVAL_DISTILLATION = 0.4
NOT_PREDICTED = -100  # ALBEF's label of tokens that are not masked


def recorded_learner(
    experiment: Experiment, model: AlignmentModel, negatives: HardNegatives, masked: MaskedTokens | None
) -> AlignmentLearner:
    """A learner with nothing left to chance."""
    learner = kit_of(experiment).learner(experiment, model, VocabularyInfo(3, cls_id=1, mask_id=2), World.single())
    begin = learner.begin

    def begin_recorded(batch: Batch, progress: Progress) -> Step:
        step = begin(batch, progress)
        step.negatives = lambda hardness, **_: negatives
        return step

    learner.begin = begin_recorded
    if masked is not None:
        model.terms["masked_language"].mask = lambda batch: masked
    return learner


def check_pretraining(reference: Reference) -> None:
    """Features, and for each α the losses of a step, its gradients and what it leaves behind."""
    weights = reference.weights("pretrain")
    batch = _batch(reference, torch.arange(len(reference.look("pretrain.input_ids"))))
    _check_features(reference, prepare(reference, weights, 0.0)[1], batch)
    alphas = sorted({m[1] for name in reference.names if (m := re.match(r"pretrain\.alpha([\d.]+)\.loss_ita$", name))})
    if not alphas:
        raise AnotherFormError("expected.safetensors has no pretrain.alpha…loss_ita")
    for alpha in alphas:
        _check_step(reference, weights, batch, alpha)


def check_retrieval(reference: Reference) -> None:
    """Fine-tuning losses with captions that share an image."""
    weights = {name.replace(".bert.", "."): t for name, t in reference.weights("pretrain").items()}
    weights["idx_queue"] = reference.take("retrieval.index_queue_before")
    weights = {name: t for name, t in weights.items() if ".cls." not in name}
    experiment, model = prepare(reference, weights, RETRIEVAL_DISTILLATION, positives="image", masked_language=0)
    learner = recorded_learner(experiment, model, _negatives(reference, "retrieval."), None)
    model.train()
    learner.before_step(FIRST_STEP)
    output = learner.step(_batch(reference, reference.take("retrieval.image_index")), FIRST_STEP)
    reference.compare("retrieval.loss_ita", output.terms["contrastive"])
    reference.compare("retrieval.loss_itm", output.terms["matching"])


def check_interpolation(reference: Reference) -> None:
    """Position embeddings on another grid."""
    positions = reference.take("interpolate.pos_embed_in")
    tokens = reference.look("interpolate.pos_embed_out").shape[1]
    reference.compare("interpolate.pos_embed_out", resize_positions(positions, tokens))


@torch.no_grad()
def _check_features(reference: Reference, model: AlignmentModel, batch: Batch) -> None:
    step = Step(model, batch, FIRST_STEP, World.single(), distillation=0.0)
    fused = step.fused(FusionRequest(step.captions))
    reference.compare("pretrain.image_tokens", step.image_tokens)
    reference.compare("pretrain.image_feat", step.image_embedding)
    reference.compare("pretrain.text_tokens", step.text_tokens)
    reference.compare("pretrain.text_feat", step.text_embedding)
    reference.compare("pretrain.fusion_tokens", fused)
    reference.compare("pretrain.itm_logits", model.capability("matching")(fused[:, 0]))


def _check_step(reference: Reference, weights: Mapping[str, Tensor], batch: Batch, alpha: str) -> None:
    prefix = f"pretrain.alpha{alpha}."
    experiment, model = prepare(reference, weights, float(alpha))
    labels = reference.take(f"{prefix}mlm_labels")
    chosen = labels != NOT_PREDICTED
    masked = MaskedTokens(reference.take(f"{prefix}masked_input_ids"), chosen, labels[chosen])
    learner = recorded_learner(experiment, model, _negatives(reference, prefix), masked)

    model.train()
    learner.before_step(FIRST_STEP)
    output = learner.step(batch, FIRST_STEP)
    output.loss.backward()

    reference.compare(f"{prefix}loss_ita", output.terms["contrastive"])
    reference.compare(f"{prefix}loss_itm", output.terms["matching"])
    reference.compare(f"{prefix}loss_mlm", output.terms["masked_language"])
    ours = _our_names(weights, reference.sizes.text_layers)
    parameters, state = dict(model.named_parameters()), model.state_dict()
    for name in sorted(reference.names):
        theirs = name.removeprefix(f"{prefix}grad.")
        if theirs != name and theirs in ours:
            parameter = parameters[ours[theirs]]
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            reference.compare(name, gradient, GRADIENT_TOLERANCE)
        theirs = name.removeprefix(f"{prefix}after.")
        if theirs != name and theirs in ours:
            reference.compare(name, state[ours[theirs]])
    reference.compare(f"{prefix}after.image_queue", model.image_queue.features.T)
    reference.compare(f"{prefix}after.text_queue", model.text_queue.features.T)
    reference.compare(f"{prefix}after.queue_ptr", model.image_queue.pointer.reshape(1))


def _our_names(weights: Mapping[str, Tensor], text_layers: int) -> dict[str, str]:
    """Our name of every parameter that has one, by ALBEF's: the mapping passes the tensors themselves on."""
    theirs = {id(t): name for name, t in weights.items()}
    return {theirs[id(t)]: name for name, t in from_albef(weights, text_layers).items() if id(t) in theirs}


def _batch(reference: Reference, image_ids: Tensor) -> Batch:
    return Batch(
        images=reference.pixels("pretrain.image"),
        teacher_images=None,
        input_ids=reference.take("pretrain.input_ids"),
        attention_mask=reference.take("pretrain.attention_mask"),
        image_ids=image_ids,
        indices=torch.arange(len(image_ids)),
    )


def _negatives(reference: Reference, prefix: str) -> HardNegatives:
    texts = reference.take(f"{prefix}negative_text_for_image")
    images = reference.take(f"{prefix}negative_image_for_text")
    all_valid = torch.ones(len(texts), dtype=torch.bool)
    return HardNegatives(text_of_image=Negatives(texts, all_valid), image_of_text=Negatives(images, all_valid))


def prepare(
    reference: Reference,
    weights: Mapping[str, Tensor],
    distillation: float,
    positives: str = "pair",
    masked_language: float = 1.0,
) -> tuple[Experiment, AlignmentModel]:
    """ALBEF as a spec (no codebook, no intra-modal terms), and the model it describes with these weights."""
    sizes = reference.sizes
    positions, patches = (tensor(weights, f"visual_encoder.{n}") for n in ("pos_embed", "patch_embed.proj.weight"))
    queue, patch = tensor(weights, "image_queue"), patches.shape[-1]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(reference.folder / "bert_config.json", Path(folder) / "config.json")
        experiment = Experiment.model_validate(
            {
                "cbalign": 1,
                "name": "reference",
                "model": {
                    "vision": {
                        "kind": "timm",
                        "init": "random",
                        "image_size": round((positions.shape[1] - 1) ** 0.5) * patch,
                        "patch_size": patch,
                        "layers": count(weights, r"visual_encoder\.blocks\.(\d+)\."),
                        "width": positions.shape[2],
                        "heads": sizes.vision_heads,
                    },
                    "text": {
                        "kind": "bert",
                        "init": "random",
                        "architecture": folder,
                        "layers": sizes.text_layers,
                        "max_tokens": min(25, sizes.bert.positions),
                        "dropout": DROPOUT,
                    },
                    "fusion": {"layers": bert_layers(weights) - sizes.text_layers},
                    "joint_dim": queue.shape[0],
                    "queue": {"length": queue.shape[1]},
                    "teacher": {"momentum": sizes.momentum, "distillation": distillation, "ramp_epochs": 0},
                },
                "objectives": {
                    "contrastive": {"intra_modal": False, "positives": positives},
                    "codebook": {"weight": 0},
                    "masked_language": {"weight": masked_language},
                },
                "data": {"train": {"source": "csv", "files": ("given-batch.csv",)}},
            }
        )
        words = VocabularyInfo(sizes.bert.vocabulary, cls_id=1, mask_id=2)  # batches come masked
        model = kit_of(experiment).build_model(experiment, words, initialise=False)
    # Pretraining has no image ids in its queue.
    ours = from_albef(weights, sizes.text_layers)
    return experiment, filled(model, ours, "pretrain.safetensors", ("queue.image_ids",))
