"""Starting from a trained model: which of its tensors become which of the new model's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from cbalign.errors import CheckpointError
from cbalign.models.vision import are_square, resize_positions

STUDENT, TEACHER = "student.", "teacher.network."  # of towers and of heads that have a teacher
POSITIONS = "vision.transformer.pos_embed"

Alias = tuple[str, str]
"""Beginning of a name in the new model, and of the name in the old one whose tensor it takes.

Both follow `student.` or `teacher.network.`, which `{owner}` in the old name stands for where it is elsewhere.
"""

# Of other images, with numbers that mean nothing in other data.
_NOT_TAKEN = ("image_queue.", "text_queue.", "objectives.codebook.codebook.last_used")
_TOWERS = ("vision.", "text.")  # without them there is nothing to start from
_WHOLE = (*_TOWERS, "fusion.layers.")  # taken with all their layers or not at all


@dataclass(frozen=True)
class Taken:
    """What became of each tensor of the new model, by its name; `unused` are names of the old one."""

    loaded: tuple[str, ...]
    reshaped: tuple[str, ...]  # with both shapes: position embeddings that were interpolated
    copied: tuple[str, ...]  # of the teacher, from the student
    new: tuple[str, ...]  # at their initial values
    unused: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """For people: counts, and the parts that are new or left over."""
        yield f"{len(self.loaded):,} tensors taken" + (
            f", {len(self.copied):,} of the teacher copied from the student" if self.copied else ""
        )
        for title, names in (
            ("reshaped", self.reshaped),
            ("new", _parts(self.new)),
            ("not taken", _parts(self.unused)),
        ):
            if names:
                yield f"{title}: {', '.join(names)}"


def start_from(model: nn.Module, weights: Mapping[str, Tensor], origin: str, aliases: Sequence[Alias] = ()) -> Taken:
    """Fill a model that has a student and a teacher from the tensors of another one that has.

    Towers have to fit, tensor by tensor; position embeddings are interpolated to the model's image size. Other parts
    that the old model lacks, or has in another shape, keep their initial values. Queues stay empty. The teacher takes
    the old teacher's tensors, and copies the student where there are none.

    Args:
        model: `AlignmentModel` or `Distilled`.
        weights: of a model of either kind, by our names.
        origin: what messages call it.
        aliases: for parts of student and teacher that have another name in the old model, such as
            `("fusion.first.", "fusion.layers.")`; a tensor's own name goes first.

    Raises:
        CheckpointError: the towers do not fit; nothing was loaded then.
    """
    return _Filling(model, weights, origin, aliases).fill()


class _Filling:
    def __init__(self, model: nn.Module, weights: Mapping[str, Tensor], origin: str, aliases: Sequence[Alias]) -> None:
        self._model = model
        self._weights = weights
        self._origin = origin
        self._aliases = aliases
        self._used: set[str] = set()
        self._loaded: list[str] = []
        self._reshaped: list[str] = []
        self._copied: list[str] = []
        self._new: list[str] = []
        self._wrong: list[str] = []

    def fill(self) -> Taken:
        initial = self._model.state_dict()
        state: dict[str, Tensor] = {}
        # Teachers may copy what the student was given.
        for name in sorted(initial, key=lambda name: TEACHER in name):
            state[name] = self._value(name, initial[name], state)
        unused = [n for n in self._weights if n not in self._used and not n.startswith(_NOT_TAKEN)]
        self._wrong += [
            f"left over  {n}" for n in unused if n.removeprefix(STUDENT).startswith(self._whole_parts(state))
        ]
        if self._wrong:
            shown = "\n".join(f"  {line}" for line in self._wrong[:8])
            more = f"\n  and {len(self._wrong) - 8} more" if len(self._wrong) > 8 else ""
            raise CheckpointError(
                f"init: the model in {self._origin} does not fit the spec:\n{shown}{more}",
                remedy="Give model.vision, model.text and model.fusion the sizes of the model to start from.",
            )
        self._model.load_state_dict(state)
        return Taken(tuple(self._loaded), tuple(self._reshaped), tuple(self._copied), tuple(self._new), tuple(unused))

    def _whole_parts(self, state: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Beginnings of names of the student's parts that both models have."""
        return tuple(part for part in _WHOLE if any(name.startswith(STUDENT + part) for name in state))

    def _value(self, name: str, initial: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        if name.startswith(_NOT_TAKEN):
            return initial
        for candidate in self._candidates(name):
            given = self._weights.get(candidate)
            if given is None:
                continue
            self._used.add(candidate)
            if given.shape == initial.shape:
                self._loaded.append(name)
                return given.to(initial.dtype)
            if name.endswith(POSITIONS) and are_square(given) and given.shape[2] == initial.shape[2]:
                self._reshaped.append(f"{name} {tuple(given.shape)} → {tuple(initial.shape)}")
                return resize_positions(given.float(), initial.shape[1]).to(initial.dtype)
            if _is_tower(name):
                self._wrong.append(f"reshaped   {name}: {tuple(given.shape)} there, {tuple(initial.shape)} here")
                return initial
        student = name.replace(TEACHER, STUDENT, 1)
        if TEACHER in name and student in state:
            self._copied.append(name)
            return state[student]
        if _is_tower(name):
            self._wrong.append(f"missing    {name} {tuple(initial.shape)}")
        self._new.append(name)
        return initial

    def _candidates(self, name: str) -> Iterator[str]:
        """The names that a tensor may have in the old model."""
        yield name
        owner = next((owner for owner in (STUDENT, TEACHER) if name.startswith(owner)), None)
        if owner is None:
            return
        for new, old in self._aliases:
            if name.startswith(owner + new):
                known = old.format(owner=owner) if "{owner}" in old else owner + old
                yield known + name.removeprefix(owner + new)


def _is_tower(name: str) -> bool:
    return name.removeprefix(TEACHER).removeprefix(STUDENT).startswith(_TOWERS)


def _parts(names: Sequence[str]) -> tuple[str, ...]:
    """The parts of student and model that tensors belong to, each once."""
    owned = (name.removeprefix(STUDENT).removeprefix("objectives.") for name in names if TEACHER not in name)
    return tuple(dict.fromkeys(name.split(".")[0] for name in owned))
