"""One training micro-batch, whose features are computed once, on the first request of an objective."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cbalign.data.batch import Batch
from cbalign.engine.distribution import World
from cbalign.engine.task import Progress
from cbalign.models.aligned import Aligned
from cbalign.objectives.features import Embeddings, Keys, PairKeys
from cbalign.objectives.negatives import HardNegatives, draw_negatives
from cbalign.objectives.views import FusionRequest as FusionRequest
from cbalign.objectives.views import Mode, View, computed
from cbalign.objectives.views import TextRequest as TextRequest

T = TypeVar("T")


class Step:
    """One micro-batch, from which objectives request features.

    The order in which a learner runs a step:

    1. `before_step`: the teachers follow.
    2. `Step(…)`; nothing is computed yet.
    3. Texts: every objective requests the texts that it needs encoded. Student and teacher read theirs in one pass
       each, when the first of them is asked for.
    4. Fusions: every objective requests the pairs of texts and images that it needs fused. Student and teacher fuse
       theirs in two passes at most: texts that meet the batch's images in order, and all others.
    5. Losses: every objective computes its term from what it requested.
    6. `push_queues`: the queues take the teacher's features, if any objective read the keys.
    7. Weighted sum of the terms, backward, optimiser, `after_step`.

    Networks run in the autocast and gradient mode in which the step began, wherever their output is first asked for.
    All processes have to ask for the same, in the same order, because features of the global batch are gathered.

    Args:
        model: student, teacher, temperature and queues.
        batch: on the model's device.
        progress: where the training is.
        world: the processes that train together.
        distillation: α, the weight of the teacher's soft targets in this step.
    """

    def __init__(self, model: Aligned, batch: Batch, progress: Progress, world: World, distillation: float) -> None:
        self.batch = batch
        self.progress = progress
        self.world = world
        self.distillation = distillation
        self.device = batch.images.device
        self.mode = Mode.now(self.device)
        self.captions = TextRequest(batch.input_ids, batch.attention_mask, features=batch.text_features)
        self.teacher_captions = replace(self.captions, teacher=True)
        images, second = batch.images, batch.teacher_images
        if model.teacher.network is model.student:  # nothing is averaged: one forward pass serves both
            second = None
        self.student = View(model.student, images, self.captions, self.mode)
        self.teacher = View(
            model.teacher.network,
            images if second is None else second,
            self.teacher_captions,
            replace(self.mode, gradients=False),
            self.student,
        )
        self._model = model
        self._once: dict[Callable[[Step], Any], Any] = {}
        self._negatives: dict[tuple[float, bool], HardNegatives] = {}

    @property
    def image_tokens(self) -> Tensor:
        """The student's image tokens (B, N, D_image)."""
        return self.student.image_tokens

    @property
    def image_embedding(self) -> Tensor:
        """The student's image embeddings (B, d), unit length."""
        return self.student.image_embedding

    @property
    def text_tokens(self) -> Tensor:
        """The student's tokens (B, L, D) of the captions."""
        return self.student.text_tokens

    @property
    def text_embedding(self) -> Tensor:
        """The student's embeddings (B, d) of the captions, unit length."""
        return self.student.text_embedding

    @property
    def embeddings(self) -> Embeddings:
        """The student's embeddings of both modalities."""
        return Embeddings(self.image_embedding, self.text_embedding)

    @property
    def teacher_embeddings(self) -> Embeddings:
        """The teacher's embeddings of both modalities, without gradient."""
        return Embeddings(self.teacher.image_embedding, self.teacher.text_embedding)

    @computed
    def second_image_embedding(self) -> Tensor:
        """The student's embeddings (B, d) of the second view of each image, with gradient.

        Without a second view (`data.augmentation.two_views`), they are those of the first.
        """
        if self.batch.teacher_images is None:
            return self.image_embedding
        return View(self._model.student, self.batch.teacher_images, self.captions, self.mode).image_embedding

    @computed
    def gathered(self) -> Embeddings:
        """The student's embeddings (B · processes, d) of all processes, in their order, with gradient."""
        own = self.embeddings
        return Embeddings(self.world.gather(own.image), self.world.gather(own.text))

    def capability(self, name: str) -> nn.Module:
        """The module that an objective provides under this name; the section lists the name in `needs`."""
        module = self._model.capability(name)
        if module is None:
            raise RuntimeError(f"No objective provides `{name}`; the section that reads it lists it in `needs`.")
        return module

    @property
    def temperature(self) -> Tensor:
        """The contrastive temperature γ, a scalar."""
        return self._model.temperature.value

    @property
    def first(self) -> int:
        """The row of the global batch where this process's batch begins."""
        return self.world.rank * len(self.batch)

    @computed
    def global_batch(self) -> Embeddings:
        """The teacher's embeddings (B · processes, d) of all processes, in their order."""
        own = self.teacher_embeddings
        return Embeddings(self.world.gather(own.image), self.world.gather(own.text))

    @computed
    def image_ids(self) -> Tensor:
        """The images (B · processes,) that the pairs of the global batch belong to."""
        return self.world.gather(self.batch.image_ids)

    @computed
    def keys(self) -> PairKeys:
        """The teacher's embeddings of the global batch, with the queues behind them."""
        batch, ids = self.global_batch, self.image_ids
        images, image_owners = self._model.image_queue.contents()
        texts, text_owners = self._model.text_queue.contents()
        return PairKeys(
            Keys(torch.cat([batch.image, images]), torch.cat([ids, image_owners])),
            Keys(torch.cat([batch.text, texts]), torch.cat([ids, text_owners])),
        )

    @computed
    def local_keys(self) -> PairKeys:
        """The teacher's embeddings of this process's batch, with the queues behind them."""
        keys, rows = self.keys, (self.first, len(self.batch), len(self.image_ids))
        return PairKeys(keys.images.of_rows(*rows), keys.texts.of_rows(*rows))

    def negatives(self, hardness: float = 1.0, *, same_image: bool = False) -> HardNegatives:
        """Hard negatives within this process's batch, drawn once for the same arguments.

        As published, the student chooses among the teacher's features of the other modality. Negatives of other
        processes would need the image tokens of the global batch.

        Args:
            hardness: factor on the similarities; 0 draws all alike.
            same_image: whether other pairs of the same image may be drawn.
        """
        drawn = (hardness, same_image)
        if drawn not in self._negatives:
            with self.mode(), torch.no_grad():
                self._negatives[drawn] = self._draw_negatives(hardness, same_image)
        return self._negatives[drawn]

    def expect(self, requests: Iterable[TextRequest | FusionRequest]) -> None:
        """Register requests in advance, so that they share a pass."""
        for request in requests:
            self._view(request).expect(request)

    def encoded(self, request: TextRequest) -> Tensor:
        """Tokens (B, L, D) of a text."""
        return self._view(request).encoded(request)

    def fused(self, request: FusionRequest) -> Tensor:
        """Fused tokens (T, L, D) of texts with images."""
        return self._view(request).fused(request)

    def once(self, compute: Callable[[Step], T]) -> T:
        """Return `compute(step)`, computed at the first call in this step; for what several phases need."""
        if compute not in self._once:
            self._once[compute] = compute(self)
        found: T = self._once[compute]
        return found

    def full_precision(self) -> AbstractContextManager[object]:
        """Switch autocast off: similarities of unit vectors cost little, and in low precision they tie."""
        return torch.autocast(self.device.type, enabled=False)

    def mean_count(self, counted: Tensor) -> Tensor:
        """Count what is true, averaged over the processes.

        A sum over samples is divided by this instead of by the process's own count, because DDP averages losses
        whatever share of the samples each process has.
        """
        return self.world.mean(counted.sum().float())

    def push_queues(self) -> None:
        """Push the teacher's features of the global batch to the queues, if an objective read the keys."""
        if "keys" in self.__dict__:
            self._model.image_queue.push(self.global_batch.image, self.image_ids)
            self._model.text_queue.push(self.global_batch.text, self.image_ids)

    def _view(self, request: TextRequest | FusionRequest) -> View:
        return self.teacher if request.teacher else self.student

    def _draw_negatives(self, hardness: float, same_image: bool) -> HardNegatives:
        student, teacher, temperature = self.embeddings, self.teacher_embeddings, self.temperature
        ids = torch.arange(len(self.batch), device=self.device) if same_image else self.batch.image_ids
        positive = ids[:, None] == ids[None, :]
        image_to_text = student.image @ teacher.text.T / temperature
        text_to_image = student.text @ teacher.image.T / temperature
        return HardNegatives(
            text_of_image=draw_negatives(image_to_text, positive, hardness),
            image_of_text=draw_negatives(text_to_image, positive, hardness),
        )
