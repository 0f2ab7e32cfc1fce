"""Pretraining: align instances, align codes, match, predict masked words (CODIS; ALBEF without its codebook).

Fine-tuning for retrieval is the same with fewer objectives, from a pretrained model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cbalign.data.batch import Batch
from cbalign.data.text import VocabularyInfo
from cbalign.engine.distribution import World
from cbalign.engine.task import Progress, StepOutput
from cbalign.experiment.experiment import Experiment
from cbalign.models.alignment import AlignmentModel, PairFeatures
from cbalign.models.build import build_solver
from cbalign.models.towers import Towers
from cbalign.objectives.codebook import CodebookAlignment, codebook_alignment
from cbalign.objectives.codebook_health import codebook_health
from cbalign.objectives.contrastive import (
    Embeddings,
    Keys,
    instance_alignment,
    paired_positives,
    shared_positives,
)
from cbalign.objectives.masked_language import (
    MaskedTokens,
    mask_tokens,
    masked_language,
    masked_language_over_positions,
)
from cbalign.objectives.matching import Negatives, draw_negatives, image_text_matching
from cbalign.tasks.learner import DistilledLearner


@dataclass(frozen=True)
class TeacherKeys:
    """Teacher features of the global batch, alone and in front of the queues."""

    batch: Embeddings  # (B·world, d)
    batch_ids: Tensor  # (B·world,)
    images: Keys
    texts: Keys
    first: int  # row of the global batch where this rank's begins


@dataclass(frozen=True)
class HardNegatives:
    """For each image of a batch a text, and for each text an image, that do not belong to it."""

    text_of_image: Negatives
    image_of_text: Negatives


class AlignmentLearner(DistilledLearner[Towers, Batch]):
    """Implements `cbalign.engine.task.Learner`.

    Args:
        experiment: its objectives become losses.
        model: on its device.
        vocabulary: that of the tokenizer.
        world: the processes that train together.
    """

    model: AlignmentModel

    def __init__(self, experiment: Experiment, model: AlignmentModel, vocabulary: VocabularyInfo, world: World) -> None:
        super().__init__(experiment, model)
        self._section = experiment.model
        self._objectives = experiment.objectives
        self._legacy = experiment.legacy
        self._solve = build_solver(experiment.model.codebook.transport)
        self._vocabulary = vocabulary
        self._world = world
        if model.codebook is not None:
            model.codebook.prototypes.no_weight_decay = True  # type: ignore[attr-defined]

    def after_step(self, progress: Progress) -> None:
        """Temperature back into its range, prototypes back to unit length."""
        self.model.temperature.clamp()
        if self.model.codebook is not None:
            self.model.codebook.renormalise()

    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        """All four losses of one micro-batch; terms of weight 0 are not computed."""
        weights = self._objectives
        alpha = self.distillation(progress)
        masked = self._mask(batch) if weights.masked_language.weight > 0 else None
        features = self.model(
            batch.images,
            batch.teacher_images,
            batch.input_ids,
            batch.attention_mask,
            None if masked is None else masked.input_ids,
            teach_masked=alpha > 0,
        )
        teachers = self._global_keys(features, batch.image_ids)
        terms: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        # Similarities are small products of unit vectors: full precision costs little and keeps ties apart.
        with torch.autocast(features.image_embedding.device.type, enabled=False):
            if weights.contrastive.weight > 0:
                terms["contrastive"] = self._align_instances(features, batch, teachers, alpha)
                metrics["temperature"] = self.model.temperature.value.detach()
            if weights.codebook.weight > 0:
                codes = self._align_codes(features, teachers, progress)
                terms["codebook"] = codes.loss
                metrics["codebook/transport"] = codes.transport.detach()
                metrics["codebook/prediction"] = codes.prediction.detach()
                metrics |= self._watch_codebook(features, progress)
        negatives = self._draw_negatives(features, batch, progress) if weights.matching.weight > 0 else None
        terms |= self._fusion_losses(features, negatives, masked, alpha)
        self.model.image_queue.push(teachers.batch.image, teachers.batch_ids)
        self.model.text_queue.push(teachers.batch.text, teachers.batch_ids)
        total = torch.stack([getattr(weights, name).weight * term for name, term in terms.items()]).sum()
        return StepOutput(total, {name: term.detach() for name, term in terms.items()}, metrics)

    def _global_keys(self, features: PairFeatures, image_ids: Tensor) -> TeacherKeys:
        gather = self._world.gather
        batch = Embeddings(gather(features.teacher_image_embedding), gather(features.teacher_text_embedding))
        ids = gather(image_ids)
        images, image_owners = self.model.image_queue.contents()
        texts, text_owners = self.model.text_queue.contents()
        return TeacherKeys(
            batch,
            ids,
            Keys(torch.cat([batch.image, images]), torch.cat([ids, image_owners])),
            Keys(torch.cat([batch.text, texts]), torch.cat([ids, text_owners])),
            first=self._world.rank * len(image_ids),
        )

    def _align_instances(self, features: PairFeatures, batch: Batch, teachers: TeacherKeys, alpha: float) -> Tensor:
        section = self._objectives.contrastive
        if section.positives == "image":
            positives = shared_positives(batch.image_ids, teachers.images.image_ids)
        else:
            positives = paired_positives(len(batch), len(teachers.images.features), teachers.first, batch.image_ids)
        return instance_alignment(
            _student(features),
            Embeddings(features.teacher_image_embedding, features.teacher_text_embedding),
            teachers.images,
            teachers.texts,
            positives,
            self.model.temperature.value,
            distillation=alpha,
            intra_modal=section.intra_modal,
            reduction=section.reduction,
        )

    def _align_codes(self, features: PairFeatures, teachers: TeacherKeys, progress: Progress) -> CodebookAlignment:
        codebook, section = self.model.codebook, self._section.codebook
        assert codebook is not None
        frozen = progress.step < section.freeze_steps
        if section.assign_over == "batch":
            assigned = Embeddings(features.teacher_image_embedding, features.teacher_text_embedding)
        elif section.assign_over == "global_batch":
            assigned = teachers.batch
        else:
            assigned = Embeddings(teachers.images.features, teachers.texts.features)
        return codebook_alignment(
            _student(features),
            assigned,
            codebook.prototypes.detach() if frozen else codebook.prototypes,
            codebook.temperature,
            self._solve,
            target=self._objectives.codebook.target,
            first=0 if section.assign_over == "batch" else teachers.first,
        )

    @torch.no_grad()
    def _watch_codebook(self, features: PairFeatures, progress: Progress) -> dict[str, Tensor]:
        """Health of the codebook; its codes count as used when they were nearest within the last epoch."""
        codebook = self.model.codebook
        assert codebook is not None
        image_logits, text_logits = (
            codebook.logits(features.image_embedding),
            codebook.logits(features.text_embedding),
        )
        gather = self._world.gather
        codebook.note_use(gather(image_logits.argmax(dim=1)), gather(text_logits.argmax(dim=1)), progress.step)
        if not progress.logged:
            return {}
        health = codebook_health(gather(image_logits), gather(text_logits))
        used = codebook.used_since(progress.step - progress.steps_per_epoch)
        return {
            "codebook/used": used.float(),
            "codebook/dead": (codebook.size - used).float(),
            "codebook/perplexity_image": health.image_perplexity,
            "codebook/perplexity_text": health.text_perplexity,
            "codebook/entropy_image": health.image_entropy,
            "codebook/entropy_text": health.text_entropy,
            "codebook/agreement": health.agreement,
        }

    @torch.no_grad()
    def _draw_negatives(self, features: PairFeatures, batch: Batch, progress: Progress) -> HardNegatives:
        """As published: students choose among the teacher's features of the other modality, in this process's batch.

        With negatives of other processes the fusion layers would have to be sent all image tokens of the global batch.
        """
        same_image = batch.image_ids[:, None] == batch.image_ids[None, :]
        matching, temperature = self._objectives.matching, self.model.temperature.value
        hardness = matching.hardness * progress.ramp(matching.ramp_epochs)
        image_to_text = features.image_embedding @ features.teacher_text_embedding.T / temperature
        text_to_image = features.text_embedding @ features.teacher_image_embedding.T / temperature
        return HardNegatives(
            text_of_image=draw_negatives(image_to_text, same_image, hardness),
            image_of_text=draw_negatives(text_to_image, same_image, hardness),
        )

    def _mask(self, batch: Batch) -> MaskedTokens:
        assert self._vocabulary.mask_id is not None
        protected = (batch.attention_mask == 0) | (batch.input_ids == self._vocabulary.cls_id)
        return mask_tokens(
            batch.input_ids,
            protected,
            self._objectives.masked_language.probability,
            mask_id=self._vocabulary.mask_id,
            vocabulary=self._vocabulary.size,
        )

    def _fusion_losses(
        self, features: PairFeatures, negatives: HardNegatives | None, masked: MaskedTokens | None, alpha: float
    ) -> dict[str, Tensor]:
        """L_itm and L_mlm from two passes through the fusion layers.

        The first takes every text that meets an image in its place: its own, a negative, its own with words
        masked. The second takes each text with a negative image.
        """
        fusion = self.model.student.fusion
        if fusion is None:
            return {}
        texts, masks = [], []
        if negatives is not None:
            chosen = negatives.text_of_image.index
            texts += [features.text_tokens, features.text_tokens[chosen]]
            masks += [features.attention_mask, features.attention_mask[chosen]]
        if masked is not None:
            assert features.masked_text_tokens is not None
            texts.append(features.masked_text_tokens)
            masks.append(features.attention_mask)
        in_place = fusion(torch.cat(texts), torch.cat(masks), features.images, texts_per_image=len(texts))
        groups = in_place.chunk(len(texts))  # each (B, L, D)
        losses: dict[str, Tensor] = {}
        if negatives is not None:
            images = tuple(layer.select(negatives.image_of_text.index) for layer in features.images)
            elsewhere = fusion(features.text_tokens, features.attention_mask, images)
            losses["matching"] = self._match(torch.cat([groups[0], elsewhere, groups[1]]), negatives)
        if masked is not None:
            losses["masked_language"] = self._predict_words(features, groups[-1], masked, alpha)
        return losses

    def _predict_words(self, features: PairFeatures, fused: Tensor, masked: MaskedTokens, alpha: float) -> Tensor:
        """L_mlm of fused tokens (B, L, D)."""
        taught = self._teacher_words(features, masked) if alpha > 0 else None
        count = self._mean_count(masked.chosen)
        if taught is not None and self._legacy.soft_labels_over_positions:
            logits = self.model.student.vocabulary_logits(fused)
            inside = features.attention_mask.bool()
            return masked_language_over_positions(logits, inside, masked, taught, alpha, count)
        logits = self.model.student.vocabulary_logits(fused[masked.chosen])
        return masked_language(logits, masked.labels, taught, alpha, count)

    def _mean_count(self, counted: Tensor) -> Tensor:
        """How many are true, averaged over the processes: DDP averages losses, whatever share each process has."""
        return self._world.mean(counted.sum().float())

    def _match(self, fused: Tensor, negatives: HardNegatives) -> Tensor:
        """L_itm of B positives, B texts with a negative image, B images with a negative text."""
        images, texts = negatives.image_of_text, negatives.text_of_image
        size = len(images.index)
        fits = (torch.arange(3 * size, device=fused.device) < size).long()
        valid = torch.cat([torch.ones_like(images.valid), images.valid, texts.valid])
        return image_text_matching(self.model.match_logits(fused), fits, valid, self._mean_count(valid))

    @torch.no_grad()
    def _teacher_words(self, features: PairFeatures, masked: MaskedTokens) -> Tensor:
        teacher = self.model.teacher.network
        assert teacher.fusion is not None
        assert features.teacher_masked_text_tokens is not None
        images = teacher.fusion.read_images(features.teacher_image_tokens)
        fused = teacher.fusion(features.teacher_masked_text_tokens, features.attention_mask, images)
        return teacher.vocabulary_logits(fused[masked.chosen])


def _student(features: PairFeatures) -> Embeddings:
    return Embeddings(features.image_embedding, features.text_embedding)
