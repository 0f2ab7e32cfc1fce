"""Make a gallery of the drawings of Debian's package openclipart-svg, with their titles and keywords as captions.

    apt-get download openclipart-svg && dpkg -x openclipart-svg_*.deb openclipart
    python -m benchmarks.study.openclipart openclipart gallery
    python -m benchmarks.study.transfer --gallery "clip art=gallery/pairs.json"

Icons, shapes and patterns are left out, as are titles that occur twice, file names as titles, and what cannot be drawn.
Of the rest, at most 800 are taken by a hash of the title.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import resvg_py

TITLE = "{http://purl.org/dc/elements/1.1/}title"
KEYWORD = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
LEFT_OUT = ("computer", "shapes", "special", "signs_and_symbols", "unsorted")
COUNT, KEYWORDS, SIDE = 800, 4, 224


def main() -> None:
    """Write the images and pairs.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="folder that the package was extracted to")
    parser.add_argument("gallery", type=Path, help="folder to write")
    options = parser.parse_args()
    found = list(described(options.package))
    titles = Counter(title.lower() for _, title, _ in found)
    single = sorted(
        (entry for entry in found if titles[entry[1].lower()] == 1),
        key=lambda entry: hashlib.sha256(entry[1].lower().encode()).digest(),
    )
    options.gallery.mkdir(parents=True, exist_ok=True)
    pairs: list[dict[str, str]] = []
    for file, title, keywords in single:
        if len(pairs) == COUNT:
            break
        try:
            drawn = bytes(resvg_py.svg_to_bytes(svg_string=file.read_text("utf-8"), width=SIDE, skip_system_fonts=True))
        except (OSError, ValueError, RuntimeError):
            continue
        name = f"{len(pairs):03}.png"
        (options.gallery / name).write_bytes(drawn)
        pairs.append({"image": name, "caption": ", ".join([title, *keywords])})
    (options.gallery / "pairs.json").write_text(json.dumps(pairs, indent=1) + "\n", encoding="utf-8")
    print(f"{len(pairs)} drawings of {len(single):,} with a title of their own: {options.gallery / 'pairs.json'}")


def described(package: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """Yield the drawings below a folder that have words as their title, with their keywords."""
    for file in sorted(package.rglob("*.svg")):
        folders = file.parts[file.parts.index("svg") + 1 : -1] if "svg" in file.parts else ()
        if not folders or folders[0] in LEFT_OUT:
            continue
        try:
            tree = ElementTree.parse(file)
        except (ElementTree.ParseError, OSError, ValueError):
            continue
        titles = [element.text.strip() for element in tree.iter(TITLE) if element.text and element.text.strip()]
        if not titles or not re.fullmatch(r"[A-Za-z][A-Za-z ',-]{2,60}", titles[0]):
            continue
        words = [element.text.strip().lower() for element in tree.iter(KEYWORD) if element.text]
        keywords = [
            w
            for w in dict.fromkeys(words)
            if re.fullmatch(r"[a-z][a-z -]+", w) and w not in ("unsorted", titles[0].lower())
        ]
        yield file, titles[0], keywords[:KEYWORDS]


if __name__ == "__main__":
    main()
