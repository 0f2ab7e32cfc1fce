"""Loading a trained model into a new one that has a student and a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from cbalign.models.weights import STUDENT, TEACHER, Alias, LoadRules, WeightReport, load_weights

_OF_OTHER_DATA = frozenset({"image_queue", "text_queue", "last_used"})  # specific to the data of the trained model
_TOWERS = ("vision.", "text.")
_WHOLE = (*_TOWERS, "fusion.layers.")  # all their layers are loaded or none


def start_from(
    model: nn.Module, weights: Mapping[str, Tensor], origin: str, aliases: Sequence[Alias] = ()
) -> WeightReport:
    """Load the tensors of a trained model into a model with a student and a teacher.

    The tensors of the towers have to fit; position embeddings are interpolated to the model's image size. Other parts
    that the trained model lacks or has in another shape keep their initial values, and so do the queues. The teacher
    is loaded from the trained model's teacher, or else copied from the student.

    Args:
        model: `AlignmentModel` or `Distilled`.
        weights: of a model of either kind, by our names.
        origin: its name in messages.
        aliases: other names of parts of student and teacher in the trained model, such as
            `("fusion.first.", "fusion.layers.")`; a tensor's own name is tried first.

    Raises:
        CheckpointError: the towers do not fit; the model is unchanged.
    """
    whole = tuple(part for part in _WHOLE if any(name.startswith(STUDENT + part) for name in model.state_dict()))
    rules = LoadRules(
        required=_is_tower,
        fitting=_is_tower,
        skipped=lambda name: not _OF_OTHER_DATA.isdisjoint(name.split(".")),
        complete=lambda name: name.removeprefix(STUDENT).startswith(whole),
        aliases=aliases,
        place="the spec",
        remedy="Give model.vision, model.text and model.fusion the sizes of the model to start from.",
    )
    return load_weights(model, weights, f"init: the model in {origin}", rules)


def _is_tower(name: str) -> bool:
    return name.removeprefix(TEACHER).removeprefix(STUDENT).startswith(_TOWERS)
