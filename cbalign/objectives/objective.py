"""A term of the loss as a module that owns its parameters, buffers and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor, nn

from cbalign.data.text import VocabularyInfo
from cbalign.engine.task import Progress, require_scalar
from cbalign.experiment.legacy import LegacySection
from cbalign.experiment.model import ModelSection
from cbalign.models.tower import TextTower, VisionTower
from cbalign.objectives.step import FusionRequest, Step, TextRequest
from cbalign.parts import ObjectiveSection
from cbalign.parts.results import require_type


@dataclass(frozen=True)
class ObjectiveContext:
    """The context in which an objective is built."""

    joint_dim: int  # d of embeddings
    vision: VisionTower  # of the student
    text: TextTower  # of the student; its width D is that of text tokens
    fused_width: int  # of fused tokens, where an objective reads them
    model: ModelSection
    vocabulary: VocabularyInfo
    legacy: LegacySection
    initialise: bool  # whether published weights are loaded; a checkpoint replaces them all otherwise


@dataclass(frozen=True)
class Term:
    """An objective's part of the loss on one micro-batch."""

    loss: Tensor  # scalar with gradient, before weighting; logged as `loss/<name>`
    metrics: Mapping[str, Tensor] = field(default_factory=dict)  # scalars, logged under these names


class Objective(nn.Module):
    """The base of objectives; `ObjectiveSection.builds` names a subclass.

    Parameters and buffers are trained, saved and resumed like those of the model. A parameter that has the attribute
    `no_weight_decay` follows it; otherwise, matrices have weight decay, vectors and scalars do not.

    Args:
        section: the objective's settings.
        context: the rest of the experiment.
    """

    def __init__(self, section: ObjectiveSection, context: ObjectiveContext) -> None:
        super().__init__()

    @property
    def provided(self) -> Mapping[str, nn.Module]:
        """The modules by capability that this objective gives the model, as listed in `provides` of the section.

        See `cbalign.models.aligned.Aligned.capability` for what each of these modules computes.
        """
        return {}

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Request texts to encode. First phase; features must not be read yet."""
        return (step.captions,)

    def fusions(self, step: Step) -> Sequence[FusionRequest]:
        """Request texts and images to fuse, if `fuses` of the section is true. Second phase."""
        return ()

    def forward(self, step: Step) -> Term:
        """Compute the loss of a micro-batch. Third phase."""
        raise NotImplementedError

    def before_step(self, progress: Progress) -> None:
        """Update what has to be updated before an optimiser step, such as a teacher."""

    def after_step(self, progress: Progress) -> None:
        """Update what has to be updated after an optimiser step: clamp, normalise."""


def compute_terms(objectives: Mapping[str, Objective], step: Step) -> dict[str, Term]:
    """Run the three phases of a step: texts, fusions, losses.

    Raises:
        PartError: an objective returns something else than its interface states.
    """
    for objective in objectives.values():
        step.expect(_requests(objective, "texts", objective.texts(step), TextRequest))
    for objective in objectives.values():
        step.expect(_requests(objective, "fusions", objective.fusions(step), FusionRequest))
    return {name: _term(objective, objective(step)) for name, objective in objectives.items()}


R = TypeVar("R", TextRequest, FusionRequest)


def _requests(objective: Objective, call: str, requests: Sequence[R], kind: type[R]) -> Sequence[R]:
    """Return the requests of an objective, if that is what they are."""
    require_type(objective, call, requests, (tuple, list))
    for request in requests:
        require_type(objective, call, request, kind)
    return requests


def _term(objective: Objective, term: Term) -> Term:
    """Return the term of an objective, if it is one and has scalars only."""
    require_type(objective, "forward", term, Term)
    for name, value in (("the loss", term.loss), *term.metrics.items()):
        require_scalar(objective, "forward", name, value)
    return term
