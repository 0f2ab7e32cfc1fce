"""Translate PyYAML's syntax errors into messages for authors of specs."""

from __future__ import annotations

import yaml

# A part of PyYAML's message, our message, the hint.
_MEANINGS: tuple[tuple[str, str, str | None], ...] = (
    ("found character '\\t'", "a tab cannot indent or begin a value", "indent with spaces"),
    (
        "mapping values are not allowed",
        "`:` is not allowed here",
        "quote text that contains `: `, or fix the indentation",
    ),
    ("could not find expected ':'", "a key without `:`", "write `key: value`, with a space after the colon"),
    ("expected ',' or ']'", "a list that began with `[` is not closed", "add `]`, or a comma between its items"),
    ("expected ',' or '}'", "a mapping that began with `{` is not closed", "add `}`, or a comma between its entries"),
    ("did not find expected ',' or", "a bracket is not closed", None),
    ("found unexpected end of stream", "a quoted text is not closed", "add the closing quote"),
    ("found unexpected document separator", "a quoted text is not closed", "add the closing quote"),
    (
        "expected <block end>",
        "the indentation of this line matches no line above",
        "indent the entries of a section equally",
    ),
    ("sequence entries are not allowed", "`-` is not allowed here", "put each item on its own line"),
    ("block collections", "`-` is not allowed here", "put each item on its own line"),
    ("found character '%'", "text cannot begin with `%`", "quote it"),
    ("found character '@'", "text cannot begin with `@`", "quote it"),
    ("found character '`'", "text cannot begin with a backtick", "quote it"),
    ("found unknown escape character", "an unknown escape in double quotes", "use single quotes, or double it"),
    ("expected escape sequence", "an unfinished escape in double quotes", "use single quotes, or double it"),
    ("expected alphabetic or numeric", "a `*` or `&` that names nothing", "quote text that begins with `*` or `&`"),
    ("found duplicate anchor", "an anchor is named twice", None),
    ("expected <document start>", "something follows the end of the spec", "check the indentation of this line"),
    (
        "expected the node content",
        "a value is missing here",
        "close the open bracket or quote above, or write the value",
    ),
    ("found undefined tag handle", "tags are not part of the spec language", "quote text that begins with `!`"),
    ("expected URI", "tags are not part of the spec language", "quote text that begins with `!`"),
    ("found incompatible YAML document", "specs are YAML 1.2", "remove the %YAML line"),
)


def explain_yaml_error(error: yaml.YAMLError, text: str) -> tuple[str, str | None, int, int]:
    """Return message, hint, line and column (from 0) of a syntax error in `text`."""
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line = before.count("\n")
        column = len(before) - (before.rfind("\n") + 1)
        return f"the character U+{ord(text[error.position]):04X} is not allowed in YAML", "remove it", line, column
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"not YAML: {error}", None, 0, 0
    problem = error.problem or ""
    mark = error.problem_mark or error.context_mark
    message: str = f"not YAML: {problem or error.context}"
    hint: str | None = None
    known = [meaning for meaning in _MEANINGS if meaning[0] in problem]
    if known:
        _, message, hint = known[0]
    if "is not closed" in message and error.context_mark is not None:
        mark = error.context_mark
    if mark is None:
        return message, hint, 0, 0
    return message, hint, mark.line, mark.column
