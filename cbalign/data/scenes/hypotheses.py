"""Hypotheses about a scene: entailment, neutral or contradiction, proved and without label bias.

The premise is the picture, and the reader knows what `facts` says: a hypothesis is entailed if it holds however the
figures in the shade are coloured and made, contradicted if it holds in no such case, neutral if it holds in some.

Hypotheses come in blocks of nine: three scenes and three hypotheses, of which each scene has one of every label and
each hypothesis, too (a Latin square). So who sees the hypothesis alone, or the picture alone, is right in exactly one
third of every block, whatever he knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal

from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.facts import Claim, Verdict, judge
from cbalign.data.scenes.graph import Scene, draw_palette, draw_scene
from cbalign.data.scenes.language import sentence
from cbalign.data.scenes.proposals import propose_claim
from cbalign.spec.data import ScenesSplit

Label = Literal["entailment", "neutral", "contradiction"]

BLOCK = 9
"""Consecutive hypotheses that are balanced together."""

_LABELS: dict[Verdict, Label] = {
    Verdict.TRUE: "entailment",
    Verdict.OPEN: "neutral",
    Verdict.FALSE: "contradiction",
}
_SCENES, _CLAIMS = 6, 60  # tried at a time
_SHADE = 0.35
_Square = tuple[tuple[Scene, Scene, Scene], tuple[Claim, Claim, Claim]]


@dataclass(frozen=True)
class Hypothesis:
    """A sentence about a scene.

    Args:
        scene: the premise.
        claim: what the sentence says.
        text: the sentence.
        label: proved from the scene.
        picture: a name of the scene, equal for the three hypotheses about it.
    """

    scene: Scene
    claim: Claim
    text: str
    label: Label
    picture: str


def hypothesis_of(split: ScenesSplit, index: int, seed: int = 0) -> Hypothesis:
    """Hypothesis `index` of a split."""
    block, place = divmod(index, BLOCK)
    (scenes, claims), texts = _block(split, block, seed)
    which, picture = divmod(place, 3)
    verdict = judge(claims[which], scenes[picture])
    assert verdict is not None
    name = f"{split}-{seed}-h{block}-{picture}"
    return Hypothesis(scenes[picture], claims[which], texts[which], _LABELS[verdict], name)


@lru_cache(maxsize=64)
def _block(split: ScenesSplit, block: int, seed: int) -> tuple[_Square, tuple[str, ...]]:
    draws = Draws(seed, split, "hypotheses", block)
    while True:
        palette = draw_palette(draws, split)
        scenes = [draw_scene(draws, split, palette, _SHADE) for _ in range(_SCENES)]
        claims = list(dict.fromkeys(propose_claim(scenes, draws, split, palette) for _ in range(_CLAIMS)))
        if square := _latin_square(scenes, claims, draws):
            return square, tuple(sentence(claim, draws) for claim in square[1])


def _latin_square(scenes: Sequence[Scene], claims: Sequence[Claim], draws: Draws) -> _Square | None:
    """Three of the scenes and three of the claims in which each row and each column has all three verdicts."""
    verdicts = [[judge(claim, scene) for scene in scenes] for claim in claims]
    for i, j, k in draws.shuffled(list(combinations(range(len(scenes)), 3))):
        for first, second, third in ((i, j, k), (i, k, j)):
            wanted = (Verdict.TRUE, Verdict.OPEN, Verdict.FALSE)
            found: list[Claim] = []
            for _ in range(3):
                fitting = [
                    claim
                    for claim, row in zip(claims, verdicts)
                    if (row[first], row[second], row[third]) == wanted
                ]
                if not fitting:
                    break
                found.append(draws.choose(fitting))
                wanted = (*wanted[1:], wanted[0])
            else:
                return (scenes[first], scenes[second], scenes[third]), (found[0], found[1], found[2])
    return None
