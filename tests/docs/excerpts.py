"""What the documentation prints: commands and specs, found in its Markdown."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "exports/README.md")),
]
SHELLS = ("console", "bash", "text", "")
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<lang>\w*)(?P<rest>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_TITLE = re.compile(r'title="([^"]+)"')
_OPERATORS = set("();<>|&")


@dataclass(frozen=True)
class Fence:
    """A fenced block: its language, its title and its text."""

    page: str
    language: str
    title: str | None
    text: str


@dataclass(frozen=True)
class Command:
    """The words after `cbalign`, and whether they stand in a block to be copied or in a sentence."""

    page: str
    words: tuple[str, ...]
    complete: bool

    def __str__(self) -> str:
        return f"{self.page}: cbalign {shlex.join(self.words)}"


def fences(page: Path) -> list[Fence]:
    """The fenced blocks of a page."""
    found = []
    for match in _FENCE.finditer(page.read_text("utf-8")):
        title = _TITLE.search(match["rest"])
        lines = [line.removeprefix(match["indent"]) for line in match["body"].splitlines()]
        name = page.relative_to(ROOT).as_posix()
        found.append(Fence(name, match["lang"], title[1] if title else None, "\n".join(lines) + "\n"))
    return found


def commands(page: Path) -> list[Command]:
    """Every `cbalign …` that a page shows."""
    name = page.relative_to(ROOT).as_posix()
    found = []
    for fence in fences(page):
        if fence.title and fence.title.endswith(".yml"):  # a workflow
            steps = re.sub(r"\\\n\s*", " ", fence.text)
            for line in re.findall(r"^\s*(?:- run: )?(cbalign .*)$", steps, re.MULTILINE):
                found += [Command(name, words, complete=True) for words in _commands(line)]
        elif fence.language in SHELLS:
            for line in re.sub(r"\\\n\s*", " ", fence.text).splitlines():
                if fence.language in ("bash", "console") or line.lstrip().startswith("$ "):
                    found += [Command(name, words, complete=True) for words in _commands(line)]
    text = _FENCE.sub("", page.read_text("utf-8"))
    for line in re.findall(r"^ {4,}(?:\$ )?(cbalign .*)$", text, re.MULTILINE):
        found += [Command(name, words, complete=True) for words in _commands(line)]
    for inline in re.findall(r"`(cbalign [^`]+)`", text):
        found += [Command(name, words, complete=False) for words in _commands(inline)]
    return found


def _commands(line: str) -> list[tuple[str, ...]]:
    """The words of each call of cbalign in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError:  # an unclosed quote: the output of a command
        return []
    found: list[list[str]] = []
    inside, at_command = False, True
    for token in tokens:
        if set(token) <= _OPERATORS:
            inside, at_command = False, True
        elif at_command and token == "cbalign":
            found.append([])
            inside, at_command = True, False
        elif inside:
            found[-1].append(token)
        else:
            at_command = token in ("$", "!", "nohup", "srun") or re.fullmatch(r"\w+=\S*", token) is not None
    return [tuple(words) for words in found if words[:1] not in ([], ["…"])]
