"""What objectives over tokens require of the towers."""

from __future__ import annotations

from cbalign.errors import SpecError
from cbalign.objectives.objective import ObjectiveContext


def require_projectable_tokens(name: str, context: ObjectiveContext) -> None:
    """Require that the projections of pooled vectors take single tokens too.

    Args:
        name: of the objective.
        context: its context.

    Raises:
        SpecError: a tower's pooled vector is wider or narrower than its tokens.
    """
    for place, tower in (("vision", context.vision), ("text", context.text)):
        if tower.pooled_width != tower.width:
            raise SpecError(
                f"objectives.{name} projects single tokens, but model.{place} has tokens of width {tower.width} and "
                f"pooled vectors of width {tower.pooled_width}",
                remedy=f"Set model.{place}.pooling to one that keeps the width, such as mean, or "
                f"objectives.{name}.weight: 0.",
            )
