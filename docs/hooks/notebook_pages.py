"""Generate a page from each notebook, with a link to download it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = "notebooks"


def pages(docs: Path) -> dict[str, str]:
    """Return Markdown by path."""
    return {
        f"{FOLDER}/{path.stem}.md": "\n\n".join(_blocks(path)) + "\n"
        for path in sorted((docs / FOLDER).glob("*.ipynb"))
    }


def _blocks(path: Path) -> Iterator[str]:
    """Yield the title, the link and the cells of a notebook."""
    first, *others = json.loads(path.read_text("utf-8"))["cells"]
    yield _cell(first)
    yield f"[Download this page as a notebook]({path.name})."
    yield from map(_cell, others)


def _cell(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    return f"```python\n{source}\n```" if cell["cell_type"] == "code" else source
