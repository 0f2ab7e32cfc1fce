"""Finds the image-text pairs in a folder: CSV, ALBEF's JSON, Karpathy's splits, webdataset shards.

Every candidate is opened with the source that would train on it, so that what is reported works.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median_low
from typing import get_args

from pydantic import TypeAdapter

from cbalign.data.items import Pair
from cbalign.data.json_stream import stream_objects
from cbalign.data.source import Source, open_source
from cbalign.errors import DataError
from cbalign.experiment.data import Source as SourceUnion
from cbalign.experiment.document import Data
from cbalign.parts.kinds import Split

DEPTH = 3
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_PEEK = 20
_IMAGE_COLUMNS = ("image", "image_path", "filepath", "file_path", "path", "filename", "file_name", "file", "img")
_CAPTION_COLUMNS = ("caption", "captions", "title", "text", "sentence", "description", "comment")
_DELIMITERS = (",", "\t", ";", "|")
_SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    "test": "test",
}
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*\.tar)\Z")
_SOURCE: TypeAdapter[SourceUnion] = TypeAdapter(SourceUnion)


@dataclass(frozen=True)
class FoundPairs:
    """Data that a source can read.

    Args:
        settings: the source's section, with absolute paths.
        split: from the names of files; None if they do not name one.
        description: what was found.
        entries: number of pairs; for shards estimated from the first.
        words: words of the longest of the sampled captions.
        side: median of the shorter sides of the sampled images, in pixels.
    """

    settings: dict[str, Data]
    split: Split | None
    description: str
    entries: int
    words: int
    side: int


@dataclass(frozen=True)
class Discovery:
    """Data that were found, and messages about files that look like data but cannot be used."""

    found: tuple[FoundPairs, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    """A section to try.

    Args:
        settings: the section.
        split: from the names of files.
        images: paths, as written, of some of its images.
        shards: files that it is made of, if the first of them can represent all.
    """

    settings: dict[str, Data]
    split: Split | None
    images: tuple[str, ...] = ()
    shards: tuple[Path, ...] = ()


def discover(folder: Path) -> Discovery:
    """Search a folder, `DEPTH` levels deep, without hidden files."""
    folder = folder.resolve()
    files, folders = _tree(folder)
    skipped: list[str] = []
    candidates: list[_Candidate] = []
    for file in files:
        try:
            candidates += _candidates(file)
        except DataError as error:
            skipped.append(_near(str(error), folder))
    rooted = []
    for candidate in _merged(candidates):
        root = _root(candidate.images, folders)
        if root is None:
            named = ", ".join(_near(str(name), folder) for name in _listed(candidate))
            skipped.append(f"{named}: no image {candidate.images[0]} below {folder.name}")
        else:
            rooted.append(replace(candidate, settings={**candidate.settings, "root": str(root)}))
    found = []
    for candidate in (*_merged(rooted), *_shards(files)):
        try:
            found.append(_opened(candidate, folder))
        except DataError as error:
            skipped.append(_near(str(error), folder))
    return Discovery(tuple(found), (*skipped, *_loose_pairs(files)))


def _tree(folder: Path) -> tuple[list[Path], list[Path]]:
    files, folders = [], []
    for place, inner, names in os.walk(folder):
        here = Path(place)
        deep = len(here.relative_to(folder).parts) >= DEPTH
        inner[:] = [] if deep else sorted(name for name in inner if not name.startswith("."))
        folders.append(here)
        # Opening a pipe would wait for ever.
        files += [here / name for name in sorted(names) if not name.startswith(".") and (here / name).is_file()]
    return files, folders


def _candidates(file: Path) -> list[_Candidate]:
    match file.suffix.lower():
        case ".csv" | ".tsv":
            return [_csv(file)]
        case ".json" | ".jsonl":
            return _json(file)
        case _:
            return []


def _csv(file: Path) -> _Candidate:
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            header = {mark: next(csv.reader([first], delimiter=mark), []) for mark in _DELIMITERS}
            for delimiter, columns in header.items():
                image, caption = (_column(columns, names) for names in (_IMAGE_COLUMNS, _CAPTION_COLUMNS))
                if image is not None and caption is not None:
                    rows = csv.DictReader(stream, columns, delimiter=delimiter)
                    images = tuple(row[image] for row in islice(rows, _PEEK) if row[image])
                    settings: dict[str, Data] = {"image": image, "caption": caption, "delimiter": delimiter}
                    return _Candidate({"source": "csv", "files": [str(file)], **settings}, _split(file), images)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as CSV ({error})") from error
    columns = max(header.values(), key=len)
    raise DataError(
        f"{file}: its header ({', '.join(columns)}) has no column of images ({', '.join(_IMAGE_COLUMNS[:3])}, …) "
        f"or no column of captions ({', '.join(_CAPTION_COLUMNS[:3])}, …)"
    )


def _column(columns: Iterable[str], known: Iterable[str]) -> str | None:
    by_lower = {column.strip().lower(): column for column in columns}
    return next((by_lower[name] for name in known if name in by_lower), None)


def _json(file: Path) -> list[_Candidate]:
    with open(file, encoding="utf-8-sig", errors="replace") as stream:
        begins = stream.read(4096).lstrip()
    if begins.startswith("[") or file.suffix == ".jsonl":
        entries = [entry for _, entry in islice(stream_objects(file), _PEEK)]
        fields = set().union(*entries) if entries else set()
        if {"image", "caption"} <= fields:
            images = tuple(str(entry["image"]) for entry in entries if "image" in entry)
            return [_Candidate({"source": "json", "files": [str(file)]}, _split(file), images)]
        raise DataError(
            f"{file}: a list of objects with {', '.join(sorted(fields)) or 'no fields'}, without image and caption"
        )
    if '"images"' not in begins and "sentences" not in begins:
        raise DataError(f"{file}: neither a list with image and caption nor a file of Karpathy's splits")
    entries = [entry for _, entry in islice(stream_objects(file, field="images"), _PEEK)]
    images = tuple(os.path.join(str(e.get("filepath", "")), str(e.get("filename", ""))) for e in entries)
    if not all({"filename", "split", "sentences"} <= entry.keys() for entry in entries):
        raise DataError(f"{file}: neither a list with image and caption nor a file of Karpathy's splits")
    return [
        _Candidate({"source": "karpathy", "file": str(file), "split": split}, split, images)
        for split in get_args(Split)
    ]


def _split(file: Path) -> Split | None:
    words = re.split(r"[^a-z]+", file.stem.lower())
    return next((_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS), None)


def _merged(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Merge lists of the same form and split."""
    alike: dict[str, list[_Candidate]] = defaultdict(list)
    for candidate in candidates:
        rest = {name: value for name, value in candidate.settings.items() if name != "files"}
        # Lists are merged only once they have a root, and it is the same.
        alike[repr((rest, candidate.split, None if "root" in rest else _listed(candidate)))].append(candidate)
    return [
        replace(same[0], settings={**same[0].settings, "files": [file for each in same for file in _listed(each)]})
        if "files" in same[0].settings
        else same[0]
        for same in alike.values()
    ]


def _listed(candidate: _Candidate) -> list[str]:
    files = candidate.settings.get("files", [candidate.settings.get("file")])
    return [str(file) for file in files] if isinstance(files, list) else []


def _root(images: tuple[str, ...], folders: list[Path]) -> Path | None:
    """Return the folder that most of the image paths are relative to."""
    counted = [(sum((folder / image).is_file() for image in images), folder) for folder in folders]
    most, root = max(counted, key=lambda each: each[0], default=(0, None))
    return root if most else None


def _shards(files: list[Path]) -> Iterator[_Candidate]:
    groups: dict[tuple[Path, str, str], list[Path]] = defaultdict(list)
    for file in files:
        if file.suffix == ".tar":
            numbered = _NUMBERED.match(file.name)
            alike = (numbered[1], numbered[3]) if numbered else (file.name, "")
            groups[(file.parent, *alike)].append(file)
    for shards in groups.values():
        yield _Candidate(
            {"source": "webdataset", "shards": _pattern(shards)},
            _split(shards[0]) or _split(shards[0].parent),
            shards=tuple(shards),
        )


def _pattern(shards: list[Path]) -> list[Data]:
    """Return one pattern if the shards are numbered without gaps, else their names."""
    parts = [_NUMBERED.match(shard.name) for shard in shards]
    numbers = [part[2] for part in parts if part is not None]
    expected = [str(int(numbers[0]) + i).zfill(len(numbers[0])) for i in range(len(numbers))] if numbers else []
    if len(shards) > 1 and numbers == expected and parts[0] is not None:
        head, _, tail = parts[0].groups()
        return [str(shards[0].with_name(f"{head}{{{numbers[0]}..{numbers[-1]}}}{tail}"))]
    return [str(shard) for shard in shards]


def _opened(candidate: _Candidate, folder: Path) -> FoundPairs:
    """Open a candidate with its source; of several shards only the first.

    Raises:
        DataError: the source cannot read it.
    """
    settings, shards = candidate.settings, candidate.shards
    tried = {**settings, "shards": [str(shards[0])]} if shards else settings
    source = open_source(_SOURCE.validate_python(tried, strict=False), "pairs")
    sample = range(0, len(source), max(1, len(source) // _PEEK))
    words = max(len(caption.split()) for index in sample for caption in source.item(index).captions)
    sides = list(_sides(source, sample))
    description = _near(source.describe(), folder)
    if len(shards) > 1:
        names = ", ".join(_near(str(name), folder) for name in _pattern(list(shards)))
        description = f"{names}: {len(shards)} shards; the first is {description}"
    entries = len(source) * max(1, len(shards))
    return FoundPairs(settings, candidate.split, description, entries, words, median_low(sides))


def _sides(source: Source[Pair], sample: Iterable[int]) -> Iterator[int]:
    """Iterate over the shorter sides of the readable images; raise `DataError` if there are none."""
    problem: DataError | None = None
    read = 0
    for index in sample:
        try:
            yield min(source.images(index)[0].size)
            read += 1
        except DataError as error:
            problem = error
    if not read and problem is not None:
        raise problem


def _loose_pairs(files: list[Path]) -> list[str]:
    """Explain how to use images with a text file of the same name."""
    stems = {file.with_suffix("") for file in files if file.suffix == ".txt"}
    images = [file for file in files if file.suffix.lower() in IMAGES and file.with_suffix("") in stems]
    if not images:
        return []
    place = images[0].parent
    count = f"{len(images)} image{'s have' if len(images) > 1 else ' has'}"
    return [
        f"{place.name}: {count} a .txt file of the same name; pack both into a webdataset shard with: "
        f"tar --sort=name -cf {place.name}.tar -C {shlex.quote(str(place))} ."
    ]


def _near(text: str, folder: Path) -> str:
    """Make the paths in a text relative to the folder."""
    return text.replace(f"{folder}{os.sep}", "").replace(str(folder), folder.name)
