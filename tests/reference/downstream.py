"""VQA, NLVR2 and SNLI-VE: losses with distillation and what the models answer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cbalign.models.albef import answering_from_albef, entailment_from_albef, image_pairs_from_albef
from cbalign.models.image_text import ClassificationHead
from cbalign.models.momentum import Distilled
from cbalign.objectives.classification import distilled_cross_entropy
from cbalign.tasks.entailment.network import EntailmentNetwork
from cbalign.tasks.nlvr2.network import ImagePairNetwork, PairFusionEncoder
from cbalign.tasks.vqa.loss import answer_losses, weighted_answers
from cbalign.tasks.vqa.network import AnswerDecoder, AnsweringNetwork, Questions
from tests.reference.folder import TOLERANCE, Reference, relative_error
from tests.reference.networks import (
    DROPOUT,
    bert_layers,
    count,
    filled,
    fusion_encoder,
    tensor,
    text_tower,
    vision_tower,
)

DISTILLATION = 0.4


@torch.no_grad()
def check_entailment(reference: Reference) -> None:
    """SNLI-VE: logits and loss."""
    weights, sizes = reference.weights("ve"), reference.sizes
    classes = len(tensor(weights, "cls_head.2.bias"))
    network = EntailmentNetwork(
        vision_tower(weights, sizes), text_tower(sizes), fusion_encoder(weights, sizes), classes
    )
    model = Distilled(network, sizes.momentum)
    filled(model, entailment_from_albef(weights, sizes.text_layers), "ve.safetensors")
    model.train()
    model.teacher.update(model.student)
    inputs = (reference.pixels("pretrain.image"), *_texts(reference))
    _compare_classifier(reference, "ve", model.student(*inputs), model.teacher.network(*inputs))


@torch.no_grad()
def check_image_pairs(reference: Reference) -> None:
    """NLVR2: logits and loss."""
    weights, sizes = reference.weights("nlvr"), reference.sizes
    vision = vision_tower(weights, sizes)
    pairs = (bert_layers(weights) - sizes.text_layers) // 2
    head = ClassificationHead(sizes.bert.width, len(tensor(weights, "cls_head.2.bias")))
    fusion = PairFusionEncoder(sizes.bert, pairs, vision.width, DROPOUT)
    model = Distilled(ImagePairNetwork(vision, text_tower(sizes), fusion, head), sizes.momentum)
    filled(model, image_pairs_from_albef(weights, sizes.text_layers), "nlvr.safetensors")
    model.train()
    model.teacher.update(model.student)
    first, second = reference.pixels("nlvr.image_pairs").unbind(dim=1)
    inputs = (first, second, *_texts(reference))
    _compare_classifier(reference, "nlvr", model.student(*inputs), model.teacher.network(*inputs))


@torch.no_grad()
def check_answering(reference: Reference) -> None:
    """VQA: loss of weighted answers, and the ranking of a closed list."""
    weights, sizes = reference.weights("vqa"), reference.sizes
    layers = count(weights, r"text_decoder\.bert\.encoder\.layer\.(\d+)\.")
    network = AnsweringNetwork(
        vision_tower(weights, sizes),
        text_tower(sizes),
        fusion_encoder(weights, sizes),
        AnswerDecoder(sizes.bert, layers, DROPOUT),
    )
    model = Distilled(network, sizes.momentum)
    filled(model, answering_from_albef(weights, sizes.text_layers), "vqa.safetensors")
    model.train()
    model.teacher.update(model.student)
    images, (question_ids, question_mask) = reference.pixels("pretrain.image"), _texts(reference)
    answer_ids, answer_mask = (reference.take(f"vqa.answer_{n}") for n in ("input_ids", "attention_mask"))

    given = reference.take("vqa.train_answer")
    question = torch.arange(len(question_ids)).repeat_interleave(reference.take("vqa.train_count"))
    inputs = (images, question_ids, question_mask, answer_ids[given], answer_mask[given], question)
    logits, teacher_logits = model.student(*inputs), model.teacher.network(*inputs)
    losses = answer_losses(logits, answer_ids[given], answer_mask[given], teacher_logits, DISTILLATION)
    loss = weighted_answers(losses, reference.take("vqa.train_weight"), len(question_ids))
    reference.compare("vqa.loss", loss)

    model.eval()
    questions = model.student.read(images, question_ids, question_mask)
    _compare_ranking(reference, model.student.decoder, questions, answer_ids, answer_mask)


def _texts(reference: Reference) -> tuple[Tensor, Tensor]:
    return reference.take("pretrain.input_ids"), reference.take("pretrain.attention_mask")


def _compare_classifier(reference: Reference, task: str, logits: Tensor, teacher_logits: Tensor) -> None:
    targets = reference.take(f"{task}.targets")
    loss = distilled_cross_entropy(logits, targets, teacher_logits, DISTILLATION).mean()
    reference.compare(f"{task}.logits", logits)
    reference.compare(f"{task}.loss", loss)


def _compare_ranking(
    reference: Reference, decoder: AnswerDecoder, questions: Questions, answer_ids: Tensor, answer_mask: Tensor
) -> None:
    recorded, probability = reference.look("vqa.topk_ids"), reference.look("vqa.topk_probs")
    ranked = decoder.rank(questions, answer_ids, answer_mask, recorded.shape[1])
    if ranked.index.equal(recorded):
        reference.report("vqa.topk_ids", 0.0)
        reference.compare("vqa.topk_probs", ranked.probability)
        return
    # Answers with the same first token are equally likely candidates: any of them may be recorded.
    first = decoder.first_token(questions, answer_ids)
    log_least = first.topk(recorded.shape[1], dim=1).values[:, -1:]
    chosen = first.gather(1, recorded)
    scores = chosen + decoder.log_likelihood(questions, answer_ids, answer_mask, recorded)
    error = relative_error(scores.softmax(dim=1), probability)
    distinct = all(len(set(row.tolist())) == len(row) for row in recorded)
    falling = bool((probability[:, :-1] >= probability[:, 1:]).all())
    as_good = bool((chosen >= log_least - TOLERANCE).all())
    reference.report("vqa.topk_ids", error if distinct and falling and as_good else math.inf)
    reference.report("vqa.topk_probs", error)
