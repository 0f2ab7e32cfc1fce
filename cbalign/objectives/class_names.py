"""Class names: the classes of a pretrained image tower and their names as further pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cbalign.errors import SpecError
from cbalign.models.tower import TextTower
from cbalign.objectives.clip import symmetric_contrast
from cbalign.objectives.features import Embeddings
from cbalign.objectives.objective import Objective, ObjectiveContext, Term
from cbalign.objectives.sections.class_names import ClassNamesSection
from cbalign.objectives.step import Step, TextRequest

ENCODED_AT_ONCE = 128  # names, by a frozen text tower
PLACE = "objectives.class_names"


class ClassNames(Objective):
    """Symmetric InfoNCE between the features of classes and their names, with the contrastive temperature γ.

    The classifier of the published weights says which features a class has. Under the model of linear discriminant
    analysis, where the features f of all classes have one covariance Σ, its row for class c is w_c = Σ⁻¹ (μ_c - μ), so
    that μ_c = μ + Σ w_c. Mean μ and covariance Σ are those of all features seen in training; Σ is of all classes
    together. What the last ReLU of most convolutional networks cannot give, features below the smallest seen, is cut.

    In each step, `samples` classes are drawn, each with one of its names.

    Raises:
        SpecError: the image tower is trained, or its weights have no classifier with known names.
    """

    first: Tensor
    counts: Tensor
    rows: Tensor
    moment: Tensor
    mean: Tensor
    least: Tensor
    seen: Tensor
    names: Tensor
    masks: Tensor

    def __init__(self, section: ClassNamesSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        vision = context.vision
        synonyms = vision.class_names
        if not context.model.vision.is_frozen:
            raise SpecError(
                f"{PLACE}: model.vision is trained, so that its classifier no longer fits its features",
                remedy=f"Set model.vision.train: frozen, or {PLACE}.weight: 0.",
            )
        if len(synonyms) < section.samples:
            known = f"{len(synonyms):,} classes" if synonyms else "no classes with known names"
            raise SpecError(
                f"{PLACE}: the weights of model.vision have {known}",
                remedy=f"Choose weights with ImageNet's classifier and pooling: trunk, such as efficientnet-lite0, set "
                f"samples to less, or {PLACE}.weight: 0.",
            )
        self.samples = section.samples
        counts = torch.tensor([len(names) for names in synonyms])
        self.register_buffer("first", counts.cumsum(0) - counts, persistent=False)  # the first name of each class
        self.register_buffer("counts", counts, persistent=False)
        self._name_tokens([name for names in synonyms for name in names], context)
        width = vision.pooled_width
        self.register_buffer("rows", torch.zeros(len(synonyms), width))
        self.register_buffer("moment", torch.zeros(width, width))  # E[f fᵀ]
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("least", torch.full((width,), torch.inf))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._encoded: Tensor | None = None  # the names by a frozen text tower
        if context.initialise:
            self._read_rows(context)

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Draw classes, and request their names, which a frozen text tower encodes only once."""
        request = step.once(self._drawn).request
        return () if step.student.towers.text.frozen else (request,)

    def forward(self, step: Step) -> Term:
        """Compute the loss of the drawn classes."""
        drawn, towers = step.once(self._drawn), step.student.towers
        with step.full_precision():
            self._count_features(step)
            features = self.features(drawn.classes)
        tokens = self._encoded_names(towers.text)[drawn.names] if towers.text.frozen else step.encoded(drawn.request)
        texts = towers.embed_texts(tokens, drawn.request.attention_mask)
        pairs = Embeddings(towers.embed_images(features), texts)
        with step.full_precision():
            return Term(symmetric_contrast(pairs, pairs, torch.eye(self.samples, device=step.device), step.temperature))

    @torch.no_grad()
    def features(self, classes: Tensor) -> Tensor:
        """Features μ + Σ w (S, D) of classes (S,)."""
        covariance = self.moment - torch.outer(self.mean, self.mean)
        return torch.maximum(self.mean + self.rows[classes] @ covariance, self.least)

    @torch.no_grad()
    def _count_features(self, step: Step) -> None:
        """Add the features of the global batch to mean, moment and least value."""
        tokens = step.image_tokens
        pooled = tokens if tokens.ndim == 2 else step.student.towers.vision.pool(tokens)
        pooled = step.world.gather(pooled.detach().float())
        self.seen += len(pooled)
        share = len(pooled) / self.seen
        self.mean.lerp_(pooled.mean(dim=0), share)
        self.moment.lerp_(pooled.T @ pooled / len(pooled), share)
        torch.minimum(self.least, pooled.amin(dim=0), out=self.least)

    def _drawn(self, step: Step) -> _Drawn:
        """Draw classes and a name of each, on the CPU, so that a GPU run and a CPU run of one seed draw the same."""
        if self.has_names and not self.rows.any():
            raise SpecError(
                f"{PLACE}: the run that model.init names was trained without it, so that there is no classifier",
                remedy=f"Set {PLACE}.weight: 0, or model.vision.init: pretrained.",
            )
        classes = torch.randperm(len(self.counts))[: self.samples].to(step.device)
        chance = torch.rand(self.samples).to(step.device)
        names = self.first[classes] + (chance * self.counts[classes]).long()
        length = int(self.masks[names].sum(dim=1).amax()) if self.has_names else 1
        return _Drawn(classes, names, TextRequest(self.names[names, :length], self.masks[names, :length]))

    def _encoded_names(self, text: TextTower) -> Tensor:
        """Pooled vectors (names, D) by a frozen text tower, computed at the first step."""
        if not self.has_names:
            return torch.zeros(len(self.names), text.width)
        if self._encoded is None:
            parts = zip(torch.split(self.names, ENCODED_AT_ONCE), torch.split(self.masks, ENCODED_AT_ONCE))
            self._encoded = torch.cat([text.compute_features(ids, mask, "pooled").float() for ids, mask in parts])
        return self._encoded

    def _name_tokens(self, names: Sequence[str], context: ObjectiveContext) -> None:
        """Register the token ids of all names; placeholders where the tokenizer is unknown, as in a plan."""
        ids = masks = torch.ones(len(names), 1, dtype=torch.int64)
        self.has_names = context.vocabulary.encode is not None
        if context.vocabulary.encode is not None:
            tokens = context.vocabulary.encode(names)
            ids, masks = torch.from_numpy(tokens.input_ids), torch.from_numpy(tokens.attention_mask)
        self.register_buffer("names", ids, persistent=False)
        self.register_buffer("masks", masks, persistent=False)

    def _read_rows(self, context: ObjectiveContext) -> None:
        """Read the classifier of the weights that the image tower starts from."""
        source = context.model.vision.weights_source
        rows = None if source is None else context.vision.classifier(getattr(context.model.vision, "init", ""))
        if rows is None or rows.shape != self.rows.shape:
            found = "no classifier" if rows is None else f"a classifier of shape {tuple(rows.shape)}"
            raise SpecError(
                f"{PLACE}: the weights that model.vision.init names have {found}, not {tuple(self.rows.shape)}",
                remedy=f"Set model.vision.init: pretrained, or {PLACE}.weight: 0.",
            )
        self.rows.copy_(rows)


@dataclass(frozen=True)
class _Drawn:
    """The classes of a step and the names that stand for them."""

    classes: Tensor  # (S,)
    names: Tensor  # (S,) rows among all names
    request: TextRequest  # token ids (S, L) of the names
