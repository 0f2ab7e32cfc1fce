"""Varied wording of kinds, counts, places and claims. No sentence has more than 30 words."""

from __future__ import annotations

from collections.abc import Sequence

from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.facts import NONE, SOME, Claim, Count, Each, FigureKind, HowMany, Region
from cbalign.data.scenes.graph import Direction, Figure, Material, Size

NUMBERS = ("no", "one", "two", "three", "four")

_ANY_SHAPE = ("shape", "figure", "object")
_SIZE: dict[Size, tuple[str, ...]] = {"small": ("small", "little", "small", "tiny"), "large": ("large", "big")}
_MATERIAL: dict[Material, tuple[str, ...]] = {
    "filled": ("filled", "solid"),
    "outlined": ("outlined", "hollow"),
    "striped": ("striped",),
}
_DIRECTION: dict[Direction, tuple[str, ...]] = {
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
    "above": ("above", "higher than"),
    "below": ("below", "lower than"),
}


def noun(kind: FigureKind, draws: Draws, *, plural: bool = False) -> str:
    """Name a kind without article: `small striped red star`."""
    words = [] if kind.size is None else [draws.choose(_SIZE[kind.size])]
    if kind.material is not None:
        words.append(draws.choose(_MATERIAL[kind.material]))
    if kind.colour is not None:
        words.append(kind.colour)
    name: str = draws.choose(_ANY_SHAPE) if kind.shape is None else kind.shape
    words.append((f"{name}es" if name.endswith("s") else f"{name}s") if plural else name)
    return " ".join(words)


def a(words: str) -> str:
    """Add the indefinite article."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def number_of(count: int, kind: FigureKind, draws: Draws) -> str:
    """Name a number of figures: `two red stars`, `no star`."""
    return f"{NUMBERS[count]} {noun(kind, draws, plural=count > 1)}"


def figure(seen: Figure, draws: Draws) -> str:
    """Name a figure with article: its shape and colour, sometimes size and material, or that it is in the shade."""
    size = seen.size if draws.chance(0.7) else None
    if seen.shaded:
        words = noun(FigureKind(seen.shape, size=size), draws)
        return a(f"shaded {words}" if draws.chance(0.5) else f"{words} in the shade")
    material = seen.material if draws.chance(0.5 if seen.material == "filled" else 0.85) else None
    return a(noun(FigureKind(seen.shape, seen.colour, material, size), draws))


def in_passing(seen: Figure, draws: Draws) -> str:
    """Name a figure with article by one or two visible attributes: `a striped shape`, `a small star`."""
    visible = ("shape", "size") if seen.shaded else ("shape", "size", "colour", "material")
    named = draws.shuffled(visible)[: 1 + draws.below(2)]
    return a(noun(FigureKind(**{name: getattr(seen, name) for name in named}), draws))


def direction(direction: Direction, draws: Draws) -> str:
    """Name a direction: `to the left of`."""
    return draws.choose(_DIRECTION[direction])


def listing(parts: Sequence[str], draws: Draws) -> str:
    """Join parts: `a, b and c`."""
    if len(parts) == 1:
        return parts[0]
    last = draws.choose((" and ", ", and ", " and also ")) if len(parts) > 2 else " and "
    return ", ".join(parts[:-1]) + last + parts[-1]


def sentence(claim: Claim, draws: Draws) -> str:
    """Write a claim as a statement, in lower case and without a full stop."""
    match claim:
        case Each(of, kind, several):
            subject = f"{draws.choose(('every', 'each'))} {noun(of, draws)}" if several else f"the {noun(of, draws)}"
            if kind.shape is None and kind.size is None and (kind.colour is None or kind.material is None):
                return f"{subject} is {kind.colour or _material(kind, draws)}"
            return f"{subject} is {a(noun(kind, draws))}"
        case HowMany(kind, count, region):
            where = "" if region is None else f" {_region(region, draws)}"
            return f"there {_quantity(count, kind, draws)}{where}"


def _material(kind: FigureKind, draws: Draws) -> str:
    assert kind.material is not None
    return draws.choose(_MATERIAL[kind.material])


def _region(region: Region, draws: Draws) -> str:
    return f"{direction(region.direction, draws)} the {noun(region.anchor, draws)}"


def _quantity(count: Count, kind: FigureKind, draws: Draws) -> str:
    if count == SOME:
        return f"is {a(noun(kind, draws))}"
    if count == NONE:
        return f"is no {noun(kind, draws)}"
    verb = "is" if count.least == 1 else "are"
    how = "exactly" if count.least == count.most else "at least"
    return f"{verb} {how} {number_of(count.least, kind, draws)}"
