"""Answer normalisation of the official VQA evaluation, including its bugs.

What it does is set by the evaluation code that came with VQA v2 (GT-Vision-Lab/VQA, vqaEval.py); numbers are comparable
only with the same rules, so nothing here is tidied up.
"""

from __future__ import annotations

import re

_ARTICLES = frozenset({"a", "an", "the"})

_NUMBERS = {"none": "0", "zero": "0"} | {
    word: str(number)
    for number, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 1)
}

# Not among them, and so kept: the apostrophe, the colon, and the signs for number, per cent, dollar and "and".
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'

_NUMBER_WITH_COMMA = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_MOST_FULL_STOPS = 32  # the official code passes re.UNICODE, which is 32, where `sub` takes a count

# A word that lacks one of its apostrophes gets it back: `cant`, `couldntve` not, `couldn'tve` and `couldnt've` yes.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""

_APOSTROPHES = {
    word[:i] + word[i + 1 :]: word for word in _CONTRACTIONS.split() for i, letter in enumerate(word) if letter == "'"
} | {"somebody'd": "somebodyd"}


def clean(answer: str) -> str:
    """An answer on one line, without white space around it: all that happens where all annotators agree."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def normalise_answer(answer: str) -> str:
    """Normalise an answer as the official evaluation does if annotators differ.

    Punctuation goes, full stops unless a digit follows; then lower case, digits for the words none to ten, no articles,
    and apostrophes where contractions lack them.
    """
    words = (_NUMBERS.get(word, word) for word in _without_punctuation(clean(answer)).lower().split())
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def answer_type(answer: str) -> str:
    """The kind that VQA v2 sorts a question into by its most frequent answer: `yes/no`, `number` or `other`."""
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.replace(".", "", 1).isdecimal() else "other"


def _without_punctuation(text: str) -> str:
    """Replace each mark by a space, or remove it if it occurs next to a space anywhere in the text.

    A comma between digits anywhere makes all marks vanish without a space.
    """
    number = _NUMBER_WITH_COMMA.search(text) is not None
    stripped = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        stripped = stripped.replace(mark, "" if number or beside_space else " ")
    return _FULL_STOP.sub("", stripped, count=_MOST_FULL_STOPS)
