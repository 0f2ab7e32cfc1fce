"""Reads sentences about scenes and judges them world by world: slowly, from the words alone, knowing of no claims."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from cbalign.data.scenes.graph import COLOURS, MATERIALS, SHAPES, Figure, Scene

World = list[dict]

WORDS = {
    **{colour: ("colour", colour) for colour in COLOURS},
    **{shape: ("shape", shape) for shape in SHAPES},
    **{f"{shape}{'es' if shape == 'cross' else 's'}": ("shape", shape) for shape in SHAPES},
    **dict.fromkeys(("filled", "solid"), ("material", "filled")),
    **dict.fromkeys(("outlined", "hollow"), ("material", "outlined")),
    "striped": ("material", "striped"),
    **dict.fromkeys(("small", "little", "tiny"), ("size", "small")),
    **dict.fromkeys(("large", "big"), ("size", "large")),
    **dict.fromkeys(("shape", "shapes", "figure", "figures", "object", "objects"), ("", "")),
}
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}
WAY = r"(to the left of|left of|to the right of|right of|above|higher than|below|lower than)"


def worlds(scene: Scene) -> Iterator[World]:
    """Every scene that has this picture."""
    choices = [
        product(COLOURS, MATERIALS) if figure.shaded else [(figure.colour, figure.material)] for figure in scene.figures
    ]
    for looks in product(*choices):
        yield [
            {"shape": f.shape, "size": f.size, "colour": colour, "material": material, "x": f.x, "y": f.y}
            for f, (colour, material) in zip(scene.figures, looks)
        ]


def attributes(noun: str) -> dict[str, str]:
    found = dict(WORDS[word] for word in noun.split())
    found.pop("", None)
    return found


def those(world: World, noun: str) -> World:
    wanted = attributes(noun)
    return [figure for figure in world if all(figure[name] == value for name, value in wanted.items())]


def counted(text: str) -> dict[str, int]:
    """How many `two stars and one red heart` says there are of each; nothing of another sentence."""
    parts = [re.fullmatch(rf"({'|'.join(NUMBERS)}) (.+)", part) for part in re.split(r",? and (?:also )?|, ", text)]
    return {part[2]: NUMBERS[part[1]] for part in parts if part} if all(parts) else {}


def noun_of(phrase: str) -> str:
    """`a red star`, `a shaded star` or `a star in the shade` without article and shade."""
    return re.sub(r"^an? |shaded | in the shade$", "", phrase.strip())


def meant(phrase: str, scene: Scene) -> World:
    """The figures that a caption can mean by `a red star`, `a shaded star` or `a small star`, which may be shaded."""
    noun = noun_of(phrase)
    world = [{**vars_of(f), "shaded": f.shaded} for f in scene.figures]
    unseen_in_shade = {"colour", "material"} & attributes(noun).keys()
    return [f for f in those(world, noun) if (not unseen_in_shade if f["shaded"] else "shade" not in phrase)]


def vars_of(figure: Figure) -> dict:
    return {name: getattr(figure, name) for name in ("shape", "size", "colour", "material", "x", "y")}


def lies(figure: dict, way: str, other: dict) -> bool:
    column, row = (round(3 * figure[axis] - 0.5) - round(3 * other[axis] - 0.5) for axis in "xy")
    if "left" in way:
        return column < 0
    if "right" in way:
        return column > 0
    return row < 0 if way in ("above", "higher than") else row > 0


def holds(sentence: str, world: World) -> bool | None:
    """Whether a sentence is true in a world; None if it speaks of a figure that is not there or not the only one."""
    if m := re.fullmatch(rf"there (?:is|are) (.+?) {WAY} the (.+)", sentence):
        anchors = those(world, m[3])
        if len(anchors) != 1:
            return None
        world, sentence = [f for f in world if lies(f, m[2], anchors[0])], f"there is {m[1]}"
    if m := re.fullmatch(r"there (?:is|are) (an?|no|exactly \w+|at least \w+) (.+)", sentence):
        count = len(those(world, m[2]))
        if m[1] in ("a", "an"):
            return count >= 1
        if m[1] == "no":
            return count == 0
        *how, number = m[1].split()
        return count == NUMBERS[number] if how == ["exactly"] else count >= NUMBERS[number]
    m = re.fullmatch(r"(the|every|each) (.+) is (.+)", sentence)
    assert m, sentence
    subjects = those(world, m[2])
    if (len(subjects) != 1) if m[1] == "the" else (len(subjects) < 2):
        return None
    return len(those(subjects, re.sub(r"^an? ", "", m[3]))) == len(subjects)


def holds_of_two(sentence: str, left: World, right: World) -> bool | None:
    sentence = sentence.replace("image", "picture")
    if m := re.fullmatch(r"in (the left|the right|both|exactly one|at least one)(?: of the)? pictures? (.+)", sentence):
        truths = [holds(m[2], left), holds(m[2], right)]
        if m[1].startswith("the "):
            return truths["right" in m[1]]
        if None in truths:
            return None
        return {"both": all(truths), "exactly one": truths[0] != truths[1], "at least one": any(truths)}[m[1]]
    if m := re.fullmatch(r"the (left|right) picture has more (.+) than the (left|right) one", sentence):
        here, there = len(those(left, m[2])), len(those(right, m[2]))
        assert m[1] != m[3]
        return here > there if m[1] == "left" else there > here
    if m := re.fullmatch(r"both pictures have the same number of (.+)", sentence):
        return len(those(left, m[1])) == len(those(right, m[1]))
    m = re.fullmatch(r"there (?:is|are) (\w+) (.+) in the two pictures together", sentence)
    assert m, sentence
    return len(those(left, m[2])) + len(those(right, m[2])) == NUMBERS[m[1]]


def answer(question: str, world: World) -> str | None:
    """The answer in a world; None if the question speaks of a figure that is not there or not the only one."""
    question = question.removesuffix("?")

    def the(noun: str) -> dict | None:
        found = those(world, noun)
        return found[0] if len(found) == 1 else None

    if m := re.fullmatch(r"is there an? (.+)", question):
        return "yes" if those(world, m[1]) else "no"
    if m := re.fullmatch(r"how many (.+) are there", question):
        return str(len(those(world, m[1])))
    if m := re.fullmatch(r"are there more (.+) than (.+)", question):
        return "yes" if len(those(world, m[1])) > len(those(world, m[2])) else "no"
    if m := re.fullmatch(rf"what shape is {WAY} the (.+)", question):
        anchor = the(m[2])
        there = [f for f in world if anchor and lies(f, m[1], anchor)]
        return there[0]["shape"] if len(there) == 1 else None
    if m := re.fullmatch(rf"is the (.+?) {WAY} the (.+)", question):
        first, second = the(m[1]), the(m[3])
        return None if first is None or second is None else "yes" if lies(first, m[2], second) else "no"
    for pattern, name in (
        (r"what colour is the (.+)", "colour"),
        (r"what colour does the (.+) have", "colour"),
        (r"what (?:kind of )?shape is the (.+)", "shape"),
        (r"is the (.+) filled, outlined or striped", "material"),
        (r"is the (.+) small or large", "size"),
    ):
        if m := re.fullmatch(pattern, question):
            found = the(m[1])
            return None if found is None else found[name]
    raise AssertionError(question)
