"""Care of a codebook besides its loss: prototypes as running averages, revival of dead codes, state of solvers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.engine.distribution import World
from cbalign.engine.sharding import sharded_like, whole_tensor
from cbalign.engine.task import Progress
from cbalign.experiment.model import CodebookSection
from cbalign.models.codebook import Codebook
from cbalign.models.transport import TransportPlan
from cbalign.objectives.features import Embeddings


class CodebookCare(nn.Module):
    """Moves prototypes after the optimiser's step, as the spec asks; all processes compute the same.

    Args:
        codebook: the prototypes, which the optimiser may move too.
        settings: `update`, `average_momentum`, `revive_after`, `revive_most` and `freeze_steps`.
    """

    sums: Tensor
    revived: Tensor

    def __init__(self, codebook: Codebook, settings: CodebookSection) -> None:
        super().__init__()
        self.settings = settings
        self._features: Tensor | None = None
        if settings.update == "average":
            self.register_buffer("sums", codebook.prototypes.detach().clone())  # (K, d)
        if settings.revive_after is not None:
            self.register_buffer("revived", torch.zeros((), dtype=torch.int64))  # how often, since the beginning

    def metrics(self) -> Mapping[str, Tensor]:
        """How many codes were revived since the beginning, if any may be."""
        return {} if self.settings.revive_after is None else {"codebook/revived": self.revived.float()}

    def trained(self, codebook: Codebook, step: int) -> Tensor:
        """The prototypes (K, d), without gradient in steps in which the gradient must not move them."""
        frozen = self.settings.update == "average" or step < self.settings.freeze_steps
        return codebook.prototypes.detach() if frozen else codebook.prototypes

    @torch.no_grad()
    def note(self, teacher: Embeddings, plans: tuple[TransportPlan, TransportPlan], world: World) -> None:
        """Take note of the teacher features (N, d) of both modalities and of their plans."""
        features = (teacher.image, teacher.text)
        if self.settings.update == "average":
            shares = [running_sum(z, plan.targets()) for z, plan in zip(features, plans, strict=True)]
            found = torch.stack(shares).mean(dim=0)
            if self.settings.assign_over == "batch":
                found = world.mean(found)
            self.sums.lerp_(found.to(self.sums), 1 - self.settings.average_momentum)
        if self.settings.revive_after is not None:
            both = torch.cat(features)
            self._features = world.gather(both) if self.settings.assign_over == "batch" else both

    @torch.no_grad()
    def move(self, codebook: Codebook, progress: Progress) -> None:
        """Move the prototypes, after the optimiser's step."""
        averaged, after = self.settings.update == "average", self.settings.revive_after
        if progress.step < self.settings.freeze_steps or not (averaged or after):
            return
        prototypes = F.normalize(self.sums, dim=1) if averaged else whole_tensor(codebook.prototypes.detach()).clone()
        if after is not None and self._features is not None:
            dead = longest_unused(codebook.last_used, progress.step - after)[: self.settings.revive_most]
            codes, vectors = revival(prototypes, dead, self._features.to(prototypes))
            prototypes[codes] = vectors
            codebook.last_used[:, codes] = progress.step
            self.revived += len(codes)
            if averaged:
                self.sums[codes] = vectors
            self._features = None
        codebook.prototypes.copy_(sharded_like(prototypes, codebook.prototypes))


def average_state(solver: nn.Module, world: World) -> None:
    """Average what solvers keep over the processes, each of which solved its own batch."""
    for state in solver.buffers():
        state.copy_(world.mean(state))


def running_sum(features: Tensor, targets: Tensor) -> Tensor:
    """Σ_i q_ij z_i K / N of each code (K, d), for m_j ← γ m_j + (1 - γ) of it, and c_j = m_j / |m_j|.

    Spherical k-means with soft assignments, by running sums as VQ-VAE's (van den Oord et al., 2017, appendix A.1).
    Codes without samples keep their direction.

    Args:
        features: z (N, d).
        targets: q (N, K), rows are distributions over codes.
    """
    return targets.to(features).T @ features * (targets.shape[1] / len(features))


def longest_unused(last_used: Tensor, since: int) -> Tensor:
    """Codes (n,) that were last nearest to an image or a text in step `since` or before, those of longest disuse first.

    Args:
        last_used: (2, K), the step of the last use by an image and by a text; -1: never.
        since: a step.
    """
    newest = last_used.amax(dim=0)
    codes = torch.argsort(newest, stable=True)
    return codes[newest[codes] <= since] if since >= 0 else codes[:0]


def revival(prototypes: Tensor, dead: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Choose new places for dead codes: the features that fit their nearest living code worst.

    Each place taken counts as a code for the next one, so that no two codes go to the same place. Nothing is random.

    Args:
        prototypes: (K, d), unit length.
        dead: (n,) codes, the first of which are served first.
        features: (N, d), unit length.

    Returns:
        The codes (m,) that are moved and their vectors (m, d), m at most n and N.
    """
    alive = torch.ones(len(prototypes), dtype=torch.bool, device=prototypes.device)
    alive[dead] = False
    living = prototypes[alive]
    nearest = (features @ living.T).amax(dim=1) if len(living) else features.new_full((len(features),), -1.0)
    places: list[int] = []
    for _ in range(min(len(dead), len(features))):
        place = int(nearest.argmin())
        places.append(place)
        nearest = torch.maximum(nearest, features @ features[place])
        nearest[place] = torch.inf
    return dead[: len(places)], features[places]
