"""Which pair data a folder holds, told from the files in it: CSV, ALBEF's JSON, Karpathy's splits, webdataset shards.

What looks like pair data is opened by the source that would train on it, so that a find is one that works.
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

from cbalign.data.json_stream import stream_objects
from cbalign.data.source import PairSource, open_source
from cbalign.errors import DataError
from cbalign.experiment.data import Source
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
_SOURCE: TypeAdapter[Source] = TypeAdapter(Source)


@dataclass(frozen=True)
class FoundPairs:
    """Data that a source can read.

    Args:
        settings: the source's section, paths absolute.
        split: as the names of files say it; None where they do not.
        told: what was found, in words.
        entries: number of entries; of shards, as many as the first lets expect.
        words: words of the longest caption looked at.
        side: shorter side in pixels of a middling image.
    """

    settings: dict[str, Data]
    split: Split | None
    told: str
    entries: int
    words: int
    side: int


@dataclass(frozen=True)
class Discovery:
    """What was found, and what looked like data but cannot be used, with the reason."""

    found: tuple[FoundPairs, ...]
    passed_over: tuple[str, ...]


@dataclass(frozen=True)
class _Guess:
    """A section that may work. `images` are paths, as written, of some of its images."""

    settings: dict[str, Data]
    split: Split | None
    images: tuple[str, ...] = ()


def discover(folder: Path) -> Discovery:
    """Look at a folder, `DEPTH` folders deep, hidden ones left out."""
    folder = folder.resolve()
    files, folders = _tree(folder)
    passed_over: list[str] = []
    guesses: list[_Guess] = []
    for file in files:
        try:
            guesses += _guesses(file)
        except DataError as error:
            passed_over.append(_near(str(error), folder))
    rooted = []
    for guess in _together(guesses):
        root = _root(guess.images, folders)
        if root is None:
            named = ", ".join(_near(str(name), folder) for name in _listed(guess))
            passed_over.append(f"{named}: no image {guess.images[0]} below {folder.name}")
        else:
            rooted.append(replace(guess, settings={**guess.settings, "root": str(root)}))
    found = []
    for guess in (*_together(rooted), *_shards(files)):
        try:
            found.append(_opened(guess, folder))
        except DataError as error:
            passed_over.append(_near(str(error), folder))
    return Discovery(tuple(found), (*passed_over, *_with_text_beside(files)))


def _tree(folder: Path) -> tuple[list[Path], list[Path]]:
    files, folders = [], []
    for place, inner, names in os.walk(folder):
        here = Path(place)
        deep = len(here.relative_to(folder).parts) >= DEPTH
        inner[:] = [] if deep else sorted(name for name in inner if not name.startswith("."))
        folders.append(here)
        files += [here / name for name in sorted(names) if not name.startswith(".")]
    return files, folders


def _guesses(file: Path) -> list[_Guess]:
    match file.suffix.lower():
        case ".csv" | ".tsv":
            return [_csv(file)]
        case ".json" | ".jsonl":
            return _json(file)
        case _:
            return []


def _csv(file: Path) -> _Guess:
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
                    return _Guess({"source": "csv", "files": [str(file)], **settings}, _split(file), images)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as CSV ({error})") from error
    columns = max(header.values(), key=len)
    raise DataError(
        f"{file}: its first line ({', '.join(columns)}) names no column of images ({', '.join(_IMAGE_COLUMNS[:3])}, …) "
        f"or none of captions ({', '.join(_CAPTION_COLUMNS[:3])}, …)"
    )


def _column(columns: Iterable[str], known: Iterable[str]) -> str | None:
    by_lower = {column.strip().lower(): column for column in columns}
    return next((by_lower[name] for name in known if name in by_lower), None)


def _json(file: Path) -> list[_Guess]:
    with open(file, encoding="utf-8-sig", errors="replace") as stream:
        begins = stream.read(4096).lstrip()
    if begins.startswith("[") or file.suffix == ".jsonl":
        entries = [entry for _, entry in islice(stream_objects(file), _PEEK)]
        fields = set().union(*entries) if entries else set()
        if {"image", "caption"} <= fields:
            images = tuple(str(entry["image"]) for entry in entries if "image" in entry)
            return [_Guess({"source": "json", "files": [str(file)]}, _split(file), images)]
        told = ", ".join(sorted(fields)) or "nothing"
        raise DataError(f"{file}: a list of {told}, not of image and caption")
    if '"images"' not in begins and "sentences" not in begins:
        raise DataError(f"{file}: neither a list of image and caption nor one of Karpathy's splits")
    entries = [entry for _, entry in islice(stream_objects(file, field="images"), _PEEK)]
    images = tuple(os.path.join(str(e.get("filepath", "")), str(e.get("filename", ""))) for e in entries)
    if not all({"filename", "split", "sentences"} <= entry.keys() for entry in entries):
        raise DataError(f"{file}: neither a list of image and caption nor one of Karpathy's splits")
    return [
        _Guess({"source": "karpathy", "file": str(file), "split": split}, split, images) for split in get_args(Split)
    ]


def _split(file: Path) -> Split | None:
    words = re.split(r"[^a-z]+", file.stem.lower())
    return next((_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS), None)


def _together(guesses: Iterable[_Guess]) -> list[_Guess]:
    """Lists of one kind and split as one."""
    alike: dict[str, list[_Guess]] = defaultdict(list)
    for guess in guesses:
        rest = {name: value for name, value in guess.settings.items() if name != "files"}
        # Whether they share their images is known only once there is a root.
        alike[repr((rest, guess.split, None if "root" in rest else _listed(guess)))].append(guess)
    return [
        replace(same[0], settings={**same[0].settings, "files": [file for each in same for file in _listed(each)]})
        if "files" in same[0].settings
        else same[0]
        for same in alike.values()
    ]


def _listed(guess: _Guess) -> list[str]:
    files = guess.settings.get("files", [guess.settings.get("file")])
    return [str(file) for file in files] if isinstance(files, list) else []


def _root(images: tuple[str, ...], folders: list[Path]) -> Path | None:
    """The folder below which most of the images lie."""
    counted = [(sum((folder / image).is_file() for image in images), folder) for folder in folders]
    most, root = max(counted, key=lambda each: each[0], default=(0, None))
    return root if most else None


def _shards(files: list[Path]) -> Iterator[_Guess]:
    groups: dict[tuple[Path, str, str], list[Path]] = defaultdict(list)
    for file in files:
        if file.suffix == ".tar":
            numbered = _NUMBERED.match(file.name)
            alike = (numbered[1], numbered[3]) if numbered else (file.name, "")
            groups[(file.parent, *alike)].append(file)
    for shards in groups.values():
        yield _Guess(
            {"source": "webdataset", "shards": _pattern(shards)}, _split(shards[0]) or _split(shards[0].parent)
        )


def _pattern(shards: list[Path]) -> list[Data]:
    """One pattern for shards that are numbered without a gap, else their names."""
    parts = [_NUMBERED.match(shard.name) for shard in shards]
    numbers = [part[2] for part in parts if part is not None]
    expected = [str(int(numbers[0]) + i).zfill(len(numbers[0])) for i in range(len(numbers))] if numbers else []
    if len(shards) > 1 and numbers == expected and parts[0] is not None:
        head, _, tail = parts[0].groups()
        return [str(shards[0].with_name(f"{head}{{{numbers[0]}..{numbers[-1]}}}{tail}"))]
    return [str(shard) for shard in shards]


def _opened(guess: _Guess, folder: Path) -> FoundPairs:
    """Open it with the source that would train on it, the first shard standing for all."""
    settings, files = guess.settings, 1
    if settings["source"] == "webdataset":
        section = _SOURCE.validate_python({"source": "webdataset", "shards": _first_shard(settings)}, strict=False)
        files = _shard_count(settings)
    else:
        section = _SOURCE.validate_python(settings, strict=False)
    source = open_source(section)
    sample = range(0, len(source), max(1, len(source) // _PEEK))
    words = max(len(caption.split()) for index in sample for caption in source.entry(index).captions)
    sides = list(_sides(source, sample))
    told = _near(source.describe(), folder)
    if files > 1:
        told = f"{', '.join(_near(str(name), folder) for name in _names(settings))}: {files} shards, of which {told}"
    return FoundPairs(settings, guess.split, told, len(source) * files, words, median_low(sides))


def _names(settings: dict[str, Data]) -> list[str]:
    shards = settings["shards"]
    return list(map(str, shards)) if isinstance(shards, list) else []


def _first_shard(settings: dict[str, Data]) -> list[str]:
    return [re.sub(r"\{(\d+)\.\.\d+\}", r"\1", _names(settings)[0])]


def _shard_count(settings: dict[str, Data]) -> int:
    found = re.search(r"\{(\d+)\.\.(\d+)\}", _names(settings)[0])
    return int(found[2]) - int(found[1]) + 1 if found else len(_names(settings))


def _sides(source: PairSource, sample: Iterable[int]) -> Iterator[int]:
    """Shorter sides of images that can be read; at least one has to be."""
    problem: DataError | None = None
    read = 0
    for index in sample:
        try:
            yield min(source.load(index).size)
            read += 1
        except DataError as error:
            problem = error
    if not read and problem is not None:
        raise problem


def _with_text_beside(files: list[Path]) -> list[str]:
    stems = {file.with_suffix("") for file in files if file.suffix == ".txt"}
    beside = [file for file in files if file.suffix.lower() in IMAGES and file.with_suffix("") in stems]
    if not beside:
        return []
    place = beside[0].parent
    count = f"{len(beside)} image{'s have' if len(beside) > 1 else ' has'}"
    return [
        f"{place.name}: {count} a .txt beside; a tar file of both is a webdataset shard: "
        f"tar --sort=name -cf {place.name}.tar -C {shlex.quote(str(place))} ."
    ]


def _near(text: str, folder: Path) -> str:
    """The text with paths told from the folder."""
    return text.replace(f"{folder}{os.sep}", "").replace(str(folder), folder.name)
