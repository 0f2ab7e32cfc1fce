r"""Convert the equations that `pymdownx.arithmatex` finds in Markdown, `\(…\)` and `\[…\]`, to MathML."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

FOUND = re.compile(r'<(span|div) class="arithmatex">\\(?P<kind>[(\[])(?P<latex>.*?)\\[)\]]</\1>', re.DOTALL)
UNKNOWN = re.compile(r"<m[iot][a-z]*>(\\\w+)</m")


def rendered(page: str, name: str) -> str:
    """Return the HTML of a page with its equations as MathML.

    Raises:
        PluginError: an equation cannot be read.
    """
    return FOUND.sub(lambda found: _mathml(found, name), page)


def _mathml(found: re.Match[str], name: str) -> str:
    latex = html.unescape(found["latex"]).strip()
    block = found["kind"] == "["
    try:
        mathml = convert(latex, display="block" if block else "inline")
    except Exception as error:  # the converter's exceptions share no base class
        raise PluginError(f"{name}: the equation {latex!r} cannot be read ({error!r})") from error
    if unknown := UNKNOWN.search(mathml):
        raise PluginError(f"{name}: the equation {latex!r} uses {unknown[1]}, which the converter does not know")
    return f'<div class="equation">{mathml}</div>' if block else mathml
