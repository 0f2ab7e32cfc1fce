"""Changed data files: every form of list, shards, and images.

A changed file is a `DataError` with one bounded message, or it is read whole: as many items as an independent reader
finds, the same twice, each with its texts and with images that can be decoded or are each one `DataError`.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter

from cbalign.data.source import fingerprint, images_of, open_source
from cbalign.errors import DataError
from cbalign.experiment.data import Source as AnySource
from tests.data.recorded_sources import settings, write_files
from tests.trials.mutation import Base, Mutation, require
from tests.trials.trial import check_message, outcome

_SOURCES: TypeAdapter[AnySource] = TypeAdapter(AnySource)
_READ = {
    "json": ["pairs.json"], "csv": ["pairs.csv"], "karpathy": ["karpathy.json"], "webdataset": ["00.tar"],
    "vqa-v2": ["questions.json", "annotations.json"], "albef-vqa": ["albef.json"], "nlvr2": ["nlvr2.json"],
    "snli-ve": ["snli-ve.json"], "foils": ["foils.json"], "winoground": ["winoground.json"],
    "images": ["0.png", "1.png", "2.jpg"],
}  # fmt: skip
_LISTS = {"json": 2, "albef-vqa": 1, "nlvr2": 1, "snli-ve": 1}
"""Sources with one item for each object of a list, and how often they read it."""


class DataFiles(Mutation):
    """Changed data files."""

    name, full = "data_files", 1_500

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._bases = _write(folder)
        self._sections = settings(folder)
        self._sections["foils"] = ("foils", _foils(folder, "sugarcrepe", "foils.json"))
        self._sections["winoground"] = ("foils", _foils(folder, "winoground", "winoground.json"))
        self._sections["images"] = self._sections["csv"]

    def bases(self) -> list[Base]:
        """One for each kind of source."""
        return self._bases

    def judge(self, base: Base, files: dict[str, bytes], number: int) -> str:
        """Open a source and read everything that it has."""
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        try:
            return outcome(lambda: self._read(base, files))
        finally:
            for name, content in base.files.items():
                (self.folder / name).write_bytes(content)

    def _read(self, base: Base, files: dict[str, bytes]) -> None:
        kind, values = self._sections[base.name]
        section = _SOURCES.validate_json(json.dumps(values))
        source = open_source(section, kind)  # type: ignore[arg-type]
        items = [source.item(index) for index in range(len(source))]
        require(len(items) > 0, "an empty source")
        again = open_source(section, kind)  # type: ignore[arg-type]
        require([again.item(index) for index in range(len(again))] == items, "other items when it is opened again")
        require(fingerprint(again) == fingerprint(source), "another fingerprint when it is opened again")
        if base.name in _LISTS:
            listed = json.loads(files[_READ[base.name][0]].decode("utf-8-sig", "surrogatepass"))
            require(len(items) == len(listed) * _LISTS[base.name], f"{len(items)} items of {len(listed)} entries")
        for index, item in enumerate(items):
            for text in (*item.texts, *item.image_keys):
                require(isinstance(text, str), f"a text that is none: {text!r}")
            try:
                pictures = images_of(source, index)
            except DataError as error:
                check_message(str(error))
                continue
            require(all(min(picture.size) > 0 for picture in pictures), "an image without pixels")


def _write(folder: Path) -> list[Base]:
    from PIL import Image

    write_files(folder)
    Image.new("RGB", (16, 12), "red").save(folder / "2.jpg", quality=90)
    (folder / "pairs.csv").write_text((folder / "pairs.csv").read_text().replace("2.png", "2.jpg"))
    sugar = {"filename": "0.png", "caption": "a cup", "negative_caption": "a cap"}
    (folder / "foils.json").write_text(json.dumps({str(i): {**sugar, "filename": f"{i}.png"} for i in range(4)}))
    wino = {
        "id": 0,
        "image_0": "0.png",
        "image_1": "1.png",
        "caption_0": "a on b",
        "caption_1": "b on a",
        "tag": "Noun",
    }
    (folder / "winoground.json").write_text(json.dumps([wino, {**wino, "id": 1, "collapsed_tag": "Object"}]))
    return [Base(kind, {name: (folder / name).read_bytes() for name in names}) for kind, names in _READ.items()]


def _foils(folder: Path, source: str, name: str) -> dict[str, object]:
    return {"source": source, "files": [str(folder / name)], "root": str(folder)}
