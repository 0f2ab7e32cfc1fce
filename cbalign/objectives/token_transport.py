"""Transport between words and patches (Chen et al., GOT, ICML 2020; UNITER, ECCV 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cbalign.models.marginals import Scaling
from cbalign.objectives.objective import Objective, ObjectiveContext, Term
from cbalign.objectives.sections.token_transport import TokenTransportSection
from cbalign.objectives.step import Step, TextRequest
from cbalign.objectives.tokens import require_projectable_tokens


class TokenTransport(Objective):
    """The cost of carrying the words of captions to the patches of their images, by the student's projected tokens."""

    def __init__(self, section: TokenTransportSection, context: ObjectiveContext) -> None:
        super().__init__(section, context)
        require_projectable_tokens("token_transport", context)
        self.section = section
        self.scaling = Scaling(section.beta, section.iterations, 1)

    def texts(self, step: Step) -> Sequence[TextRequest]:
        """Request the captions of the student."""
        return (step.captions,)

    def forward(self, step: Step) -> Term:
        """Compute the loss; logs the cost of the pairs."""
        towers, inside = step.student.towers, step.batch.attention_mask.bool()
        patches, words = towers.embed_patches(step.image_tokens), towers.embed_words(step.text_tokens)
        if not self.section.negatives:
            with step.full_precision():
                pairs = transport_costs(words, patches, inside, self.scaling).mean()
            return Term(pairs, {"token_transport/pairs": pairs})
        drawn = step.negatives().image_of_text
        with step.full_precision():
            pairs = transport_costs(words, patches, inside, self.scaling).mean()
            others = transport_costs(words, patches[drawn.index], inside, self.scaling)
            negatives = (others * drawn.valid).sum() / step.mean_count(drawn.valid).clamp(min=1)
        parts = {"token_transport/pairs": pairs, "token_transport/negatives": negatives}
        return Term((pairs - negatives) / 2, parts)


def transport_costs(words: Tensor, patches: Tensor, inside: Tensor, scaling: Scaling) -> Tensor:
    """<T, D> (B,) of each pair; D = 1 - cosine, T = argmin <T, D> with uniform marginals, a constant.

    The mass is shared among a caption's words, padding aside, and among the patches. Gradients reach both through D.

    Args:
        words: (B, L, d), unit length.
        patches: (B, P, d), unit length.
        inside: (B, L) true on words, false on padding; each row has a word.
        scaling: the iterations.
    """
    costs = 1 - words @ patches.transpose(1, 2)
    shares = torch.where(
        inside, -inside.sum(dim=1, keepdim=True).to(costs).log(), -1e4
    )  # exp of it is 0 where padding is
    columns = costs.new_full((patches.shape[1],), 1 / patches.shape[1]).log()
    with torch.no_grad():
        plan = scaling.plan(costs.detach(), shares, columns, torch.ones_like(columns))
    return (plan * costs).sum(dim=(1, 2))
