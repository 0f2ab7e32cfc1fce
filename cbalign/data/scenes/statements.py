"""Statements about two scenes, true or false, without label bias.

Statements come in blocks of four: two pairs of pictures and two statements, each true of one pair and false of the
other. So a model that sees only the statement, or only the pictures, is right in exactly half of every block. No
statement is left open by the shade.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Literal

from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.facts import Claim, FigureKind, Truth, bounds, judge
from cbalign.data.scenes.graph import MOST_FIGURES, Palette, Scene, draw_palette, draw_scene
from cbalign.data.scenes.language import NUMBERS, noun, sentence
from cbalign.data.scenes.proposals import propose_claim, propose_kind
from cbalign.data.sections.drawings import ScenesSplit

Side = Literal["left", "right"]
Which = Literal["left", "right", "both", "exactly one", "at least one"]

BLOCK = 4
"""Consecutive statements that are balanced together."""

_PAIRS, _PROPOSALS = 4, 40  # tried together
_KEPT = 16_384  # blocks: training reads single items in any order, and a block takes milliseconds
_Pair = tuple[Scene, Scene]


@dataclass(frozen=True, slots=True)
class Holds:
    """A claim is true of the left, the right, both, exactly one or at least one of the pictures."""

    which: Which
    claim: Claim


@dataclass(frozen=True, slots=True)
class More:
    """One picture has more figures of a kind than the other."""

    side: Side
    kind: FigureKind


@dataclass(frozen=True, slots=True)
class AsMany:
    """Both pictures have the same number of figures of a kind."""

    kind: FigureKind


@dataclass(frozen=True, slots=True)
class Total:
    """The two pictures together have a number of figures of a kind."""

    kind: FigureKind
    count: int


PairClaim = Holds | More | AsMany | Total


@dataclass(frozen=True)
class GeneratedStatement:
    """A sentence about two pictures.

    Args:
        scenes: left and right.
        comparison: the meaning of the sentence.
        text: the sentence.
        truth: whether it is true.
        identity: name of the sentence, equal for the two pairs of pictures that it is about.
        pictures: names of the scenes.
    """

    scenes: _Pair
    comparison: PairClaim
    text: str
    truth: bool
    identity: str
    pictures: tuple[str, str]


def statement_of(split: ScenesSplit, index: int, seed: int = 0) -> GeneratedStatement:
    """Generate statement `index` of a split."""
    block, place = divmod(index, BLOCK)
    pairs, comparisons, texts = _block(split, block, seed)
    which, pair = divmod(place, 2)
    truth = compare(comparisons[which], *pairs[pair])
    assert truth is not None
    name = f"{split}-{seed}-s{block}"
    return GeneratedStatement(
        scenes=pairs[pair],
        comparison=comparisons[which],
        text=texts[which],
        truth=truth,
        identity=f"{name}-{which}",
        pictures=(f"{name}-{pair}-left", f"{name}-{pair}-right"),
    )


def compare(comparison: PairClaim, left: Scene, right: Scene) -> bool | None:
    """Decide whether a comparison is true of two pictures; None if it is open, or refers to a missing figure."""
    match comparison:
        case Holds(which, claim):
            return _holds(which, judge(claim, left), judge(claim, right))
        case More(side, kind):
            here, there = (left, right) if side == "left" else (right, left)
            (least, most), (other_least, other_most) = bounds(here.figures, kind), bounds(there.figures, kind)
            return True if least > other_most else False if most <= other_least else None
        case AsMany(kind):
            (least, most), (other_least, other_most) = bounds(left.figures, kind), bounds(right.figures, kind)
            if least > other_most or most < other_least:
                return False
            return True if least == most == other_least == other_most else None
        case Total(kind, count):
            least, most = (sum(both) for both in zip(bounds(left.figures, kind), bounds(right.figures, kind)))
            return True if least == most == count else False if not least <= count <= most else None


def _holds(which: Which, left: Truth | None, right: Truth | None) -> bool | None:
    if which in ("left", "right"):
        judged = left if which == "left" else right
        return None if judged is None or judged is Truth.OPEN else judged is Truth.TRUE
    verdicts = (left, right)
    if None in verdicts:
        return None
    if which == "both" and Truth.FALSE in verdicts:
        return False
    if which == "at least one" and Truth.TRUE in verdicts:
        return True
    if Truth.OPEN in verdicts:
        return None
    if which == "exactly one":
        return left is not right
    return which == "both"


@lru_cache(maxsize=_KEPT)
def _block(
    split: ScenesSplit, block: int, seed: int
) -> tuple[tuple[_Pair, _Pair], tuple[PairClaim, PairClaim], tuple[str, str]]:
    draws = Draws(seed, split, "statements", block)
    while True:
        palette = draw_palette(draws, split)
        pairs = [(draw_scene(draws, split, palette), draw_scene(draws, split, palette)) for _ in range(_PAIRS)]
        scenes = [scene for pair in pairs for scene in pair]
        proposals = list(dict.fromkeys(_propose(scenes, draws, split, palette) for _ in range(_PROPOSALS)))
        truths = [[compare(proposal, *pair) for pair in pairs] for proposal in proposals]
        for one, other in draws.shuffled(list(permutations(range(_PAIRS), 2))):
            first = [said for said, row in zip(proposals, truths) if row[one] is True and row[other] is False]
            second = [said for said, row in zip(proposals, truths) if row[one] is False and row[other] is True]
            if first and second:
                said = _varied(first, draws), _varied(second, draws)
                return (pairs[one], pairs[other]), said, (_words(said[0], draws), _words(said[1], draws))


def _varied(proposals: Sequence[PairClaim], draws: Draws) -> PairClaim:
    """Draw a proposal; all forms among them are equally likely."""
    forms = sorted({type(proposal).__name__ for proposal in proposals})
    form = draws.choose(forms)
    return draws.choose([proposal for proposal in proposals if type(proposal).__name__ == form])


def _propose(scenes: Sequence[Scene], draws: Draws, split: ScenesSplit, palette: Palette) -> PairClaim:
    figure = draws.choose(draws.choose(scenes).figures)
    match draws.below(8):
        case 0:
            return More(draws.choose(("left", "right")), propose_kind(figure, draws, split, palette))
        case 1:
            return AsMany(propose_kind(figure, draws, split, palette))
        case 2:
            return Total(propose_kind(figure, draws, split, palette), 1 + draws.below(MOST_FIGURES))
        case 3 | 4 | 5:
            return Holds(draws.choose(("left", "right")), propose_claim(scenes, draws, split, palette))
        case _:
            return Holds(
                draws.choose(("both", "exactly one", "at least one")), propose_claim(scenes, draws, split, palette)
            )


def _words(comparison: PairClaim, draws: Draws) -> str:
    picture = draws.choose(("picture", "image"))
    match comparison:
        case Holds(which, claim):
            where = f"both {picture}s" if which == "both" else f"{which} of the {picture}s"
            where = f"the {which} {picture}" if which in ("left", "right") else where
            return f"in {where} {sentence(claim, draws)}"
        case More(side, kind):
            other = "right" if side == "left" else "left"
            return f"the {side} {picture} has more {noun(kind, draws, plural=True)} than the {other} one"
        case AsMany(kind):
            return f"both {picture}s have the same number of {noun(kind, draws, plural=True)}"
        case Total(kind, count):
            verb = "is" if count == 1 else "are"
            return f"there {verb} {NUMBERS[count]} {noun(kind, draws, plural=count > 1)} in the two {picture}s together"
