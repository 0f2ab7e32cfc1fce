"""Hypotheses about a scene, labelled entailment, neutral or contradiction by proof and without label bias.

The premise is the picture. A hypothesis is entailed if it holds for all colours and materials of the figures in the
shade, contradicted if it holds for none, neutral if it holds for some (see `facts`).

Hypotheses come in blocks of nine: three scenes and three hypotheses, such that each scene and each hypothesis has every
label once (a Latin square). So a model that sees only the hypothesis, or only the picture, is right in exactly one
third of every block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Literal

from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.facts import Claim, Truth, form, judge
from cbalign.data.scenes.graph import Scene, draw_palette, draw_scene
from cbalign.data.scenes.language import sentence
from cbalign.data.scenes.proposals import propose_claim
from cbalign.data.sections.drawings import ScenesSplit

Label = Literal["entailment", "neutral", "contradiction"]

BLOCK = 9
"""Consecutive hypotheses that are balanced together."""

_LABELS: dict[Truth, Label] = {
    Truth.TRUE: "entailment",
    Truth.OPEN: "neutral",
    Truth.FALSE: "contradiction",
}
_SCENES, _CLAIMS = 16, 80  # tried together
_SHADE = 0.35
_KEPT = 16_384  # blocks: training reads single items in any order, and a block takes milliseconds
_Square = tuple[tuple[Scene, Scene, Scene], tuple[Claim, Claim, Claim]]


@dataclass(frozen=True)
class Hypothesis:
    """A sentence about a scene.

    Args:
        scene: the premise.
        claim: the meaning of the sentence.
        text: the sentence.
        label: proved from the scene.
        picture: name of the scene, equal for the three hypotheses about it.
    """

    scene: Scene
    claim: Claim
    text: str
    label: Label
    picture: str


def hypothesis_of(split: ScenesSplit, index: int, seed: int = 0) -> Hypothesis:
    """Generate hypothesis `index` of a split."""
    block, place = divmod(index, BLOCK)
    (scenes, claims), texts = _block(split, block, seed)
    which, picture = divmod(place, 3)
    truth = judge(claims[which], scenes[picture])
    assert truth is not None
    name = f"{split}-{seed}-h{block}-{picture}"
    return Hypothesis(scenes[picture], claims[which], texts[which], _LABELS[truth], name)


@lru_cache(maxsize=_KEPT)
def _block(split: ScenesSplit, block: int, seed: int) -> tuple[_Square, tuple[str, ...]]:
    draws = Draws(seed, split, "hypotheses", block)
    while True:
        palette = draw_palette(draws, split)
        scenes = [draw_scene(draws, split, palette, _SHADE) for _ in range(_SCENES)]
        claims = list(dict.fromkeys(propose_claim(scenes, draws, split, palette) for _ in range(_CLAIMS)))
        if square := _latin_square(scenes, claims, draws):
            return square, tuple(sentence(claim, draws) for claim in square[1])


def _latin_square(scenes: Sequence[Scene], claims: Sequence[Claim], draws: Draws) -> _Square | None:
    """Select three scenes and three claims such that each scene and each claim has all three verdicts.

    The form of the first claim is drawn uniformly from those that are possible, so that rare forms occur.
    """
    sorting = _sorting_claims(scenes, claims)
    # Entailed, neutral, contradicted: three claims that sort three scenes in three rotated ways make a square.
    squares = [(i, j, k) for i, j, k in sorting if (k, i, j) in sorting and (j, k, i) in sorting]
    forms: dict[str, list[tuple[int, int, int]]] = {}
    for square in squares:
        for name in sorting[square]:
            forms.setdefault(name, []).append(square)
    if not forms:
        return None
    name = draws.choose(sorted(forms))
    i, j, k = draws.choose(forms[name])
    first = draws.choose(sorting[i, j, k][name])
    second, third = (_varied(sorting[order], draws) for order in ((k, i, j), (j, k, i)))
    return (scenes[i], scenes[j], scenes[k]), (first, second, third)


def _sorting_claims(
    scenes: Sequence[Scene], claims: Sequence[Claim]
) -> dict[tuple[int, int, int], dict[str, list[Claim]]]:
    """Map three scenes to claims by form: entailed by the first, open in the second, contradicted by the third."""
    sorting: dict[tuple[int, int, int], dict[str, list[Claim]]] = {}
    for claim in claims:
        where: dict[Truth | None, list[int]] = {}
        for position, scene in enumerate(scenes):
            where.setdefault(judge(claim, scene), []).append(position)
        for scenes_of in product(*(where.get(truth, []) for truth in _LABELS)):
            i, j, k = scenes_of
            sorting.setdefault((i, j, k), {}).setdefault(form(claim), []).append(claim)
    return sorting


def _varied(forms: Mapping[str, Sequence[Claim]], draws: Draws) -> Claim:
    """Draw a claim; all forms are equally likely."""
    return draws.choose(forms[draws.choose(sorted(forms))])
