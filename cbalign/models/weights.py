"""Loading weights into a model, with a report of what happened to every tensor.

All weights are loaded here: a file of timm's or of a BERT, a checkpoint of ALBEF, a run to start from. Each of these
maps names to ours and states its `LoadRules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from cbalign.errors import CheckpointError
from cbalign.models.adapters import is_adapter, name_without_adapter
from cbalign.models.tower import Tower

STUDENT, TEACHER = "student.", "teacher.network."  # of towers, and of heads that have a teacher
SHOWN = 8  # problems in a message
_SHOWN_PARTS = 24  # parts of a model in a line

Alias = tuple[str, str]
"""Prefix of a name in the model, and the prefix of the name in the weights from which it may be loaded instead.

Both follow `student.` or `teacher.network.`, which `{owner}` stands for where it is elsewhere in the second.
"""


@dataclass(frozen=True)
class WeightReport:
    """The outcome for each tensor. Names are those of the model; for `unexpected` and `redundant`, of the weights."""

    loaded: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()  # each with both shapes, as in `name: (…) in the weights, (…) in the model`
    copied: tuple[str, ...] = ()  # the teacher's, from the student
    missing: tuple[str, ...] = ()  # not in the weights: these keep their initial values
    unexpected: tuple[str, ...] = ()  # in the weights, not in the model
    redundant: tuple[str, ...] = ()  # in the weights, equal to others

    def lines(self) -> Iterator[str]:
        """The counts, and the parts of the model that were not just loaded."""
        yield f"{len(self.loaded):,} tensors loaded" + (
            f", {len(self.copied):,} of the teacher copied from the student" if self.copied else ""
        )
        for title, names in (
            ("reshaped", self.reshaped),
            ("missing", parts_of(self.missing)),
            ("unexpected", parts_of(self.unexpected)),
        ):
            if names:
                more = f" and {len(names) - _SHOWN_PARTS:,} more" if len(names) > _SHOWN_PARTS else ""
                yield f"{title}: {', '.join(names[:_SHOWN_PARTS])}{more}"


def parts_of(names: Sequence[str]) -> tuple[str, ...]:
    """The part of the student, or the objective, that each name belongs to; once, and without those of teachers."""
    owned = (name.removeprefix(STUDENT).removeprefix("objectives.") for name in names if TEACHER not in name)
    return tuple(dict.fromkeys(name.split(".")[0] for name in owned))


def everything(name: str) -> bool:
    """Select every tensor."""
    return True


def nothing(name: str) -> bool:
    """Select no tensor."""
    return False


@dataclass(frozen=True)
class LoadRules:
    """Which tensors the weights must have. Functions select tensors by name.

    Args:
        required: must be in the weights. All others keep their initial values if they are missing.
        fitting: must have the model's shape, or one that the tower can adapt, if they are in the weights. All others
            count as missing if they have another shape.
        skipped: are never loaded and not reported.
        complete: of the weights; none of these may be left over.
        aliases: other names of a tensor in the weights; its own name is tried first.
        place: the setting named in messages.
        remedy: the remedy given in messages.
    """

    required: Callable[[str], bool] = everything
    fitting: Callable[[str], bool] = everything
    skipped: Callable[[str], bool] = nothing
    complete: Callable[[str], bool] = nothing
    aliases: Sequence[Alias] = ()
    place: str = "the spec"
    remedy: str | None = None


def load_weights(
    model: nn.Module, weights: Mapping[str, Tensor], origin: str, rules: LoadRules | None = None
) -> WeightReport:
    """Load weights into a model.

    Tensors of another shape are adapted by the tower that they belong to (`Tower.adapt`). A tensor of the teacher that
    is missing becomes a copy of the student's.

    Args:
        model: any module, with or without student and teacher.
        weights: tensors by the model's names.
        origin: the name of the weights in messages.
        rules: what is allowed to be missing; None requires every tensor of the model.

    Raises:
        CheckpointError: the weights do not fit; the model is unchanged.
    """
    return _Loading(model, weights, origin, rules or LoadRules()).run()


@dataclass
class _Loading:
    model: nn.Module
    weights: Mapping[str, Tensor]
    origin: str
    rules: LoadRules
    state: dict[str, Tensor] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    loaded: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def run(self) -> WeightReport:
        own = self.model.state_dict(keep_vars=True)
        towers = {f"{name}." if name else "": m for name, m in self.model.named_modules() if isinstance(m, Tower)}
        # Teachers last: they may copy the student.
        for name in sorted(own, key=lambda name: TEACHER in name):
            student = name.replace(TEACHER, STUDENT, 1)
            if TEACHER in name and own.get(student) is own[name]:  # of a frozen tower, which both have
                self._share(name, student)
            else:
                self.state[name] = own[name] if self.rules.skipped(name) else self._value(name, own[name], towers)
        unexpected = [n for n in self.weights if n not in self.used and not self.rules.skipped(n)]
        self.problems += [f"unexpected   {name}" for name in unexpected if self.rules.complete(name)]
        self._refuse_problems()
        self.model.load_state_dict(self.state)
        return WeightReport(
            loaded=tuple(self.loaded),
            reshaped=tuple(self.reshaped),
            copied=tuple(self.copied),
            missing=tuple(self.missing),
            unexpected=tuple(unexpected),
        )

    def _share(self, name: str, student: str) -> None:
        """Load the student's tensor, whatever the weights have for the teacher."""
        self.used |= {candidate for candidate in _names(name, self.rules.aliases) if candidate in self.weights}
        self.state[name] = self.state[student]
        (self.missing if student in self.missing else self.copied).append(name)

    def _value(self, name: str, own: Tensor, towers: Mapping[str, Tower]) -> Tensor:
        for candidate in _names(name, self.rules.aliases):
            if candidate not in self.weights:
                continue
            self.used.add(candidate)
            given = self.weights[candidate]
            if given.shape == own.shape:
                self.loaded.append(name)
                return given.to(own.dtype)
            shapes = f"{name}: {tuple(given.shape)} in the weights, {tuple(own.shape)} in the model"
            if (adapted := _adapted(name, given, own, towers)) is not None:
                self.reshaped.append(shapes)
                return adapted
            if self.rules.fitting(name):
                self.problems.append(f"other shape  {shapes}")
                return own
        return self._without_weights(name, own)

    def _without_weights(self, name: str, own: Tensor) -> Tensor:
        student = name.replace(TEACHER, STUDENT, 1)
        if TEACHER in name and student in self.state:
            (self.missing if student in self.missing else self.copied).append(name)
            return self.state[student]
        if self.rules.required(name) and not is_adapter(name):
            self.problems.append(f"missing      {name} {tuple(own.shape)}")
        self.missing.append(name)
        return own

    def _refuse_problems(self) -> None:
        if not self.problems:
            return
        shown = "\n".join(f"  {line}" for line in self.problems[:SHOWN])
        more = f"\n  and {len(self.problems) - SHOWN} more" if len(self.problems) > SHOWN else ""
        raise CheckpointError(
            f"{self.origin} does not fit {self.rules.place}:\n{shown}{more}", remedy=self.rules.remedy
        )


def _names(name: str, aliases: Sequence[Alias]) -> Iterator[str]:
    """The names that a tensor of the model may have in the weights."""
    yield name
    name = name_without_adapter(name)
    yield name
    owner = next((owner for owner in (STUDENT, TEACHER) if name.startswith(owner)), "")
    for ours, theirs in aliases:
        if name.startswith(owner + ours):
            known = theirs.format(owner=owner) if "{owner}" in theirs else owner + theirs
            yield known + name.removeprefix(owner + ours)


def _adapted(name: str, given: Tensor, own: Tensor, towers: Mapping[str, Tower]) -> Tensor | None:
    """The tensor as converted by the tower that it belongs to."""
    for prefix, tower in towers.items():
        if name.startswith(prefix):
            return tower.adapt(name.removeprefix(prefix), given, own)
    return None
