"""What holds for any source: fingerprints, opening by section or file, and sources of other distributions."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from PIL import Image
from pydantic import TypeAdapter

import cbalign.data.source
from cbalign.data.batch import PairCollation, QuestionCollation
from cbalign.data.image import Preprocessing
from cbalign.data.items import Answer, Item, Pair, Question
from cbalign.data.json_pairs import open_json
from cbalign.data.loader import Loader
from cbalign.data.source import fingerprint, open_source, source_of_file, texts_of
from cbalign.data.text import Tokenizer
from cbalign.data.wrapped_source import FirstItems
from cbalign.errors import UsageError
from cbalign.experiment.data import Source as SourceUnion
from cbalign.parts import Effect, ItemKind, SourceSection, setting

from .recorded_sources import settings, write_files

PAIRS = [{"image": f"{n}.png", "caption": f"picture {n}"} for n in range(7)]

# Of version 0.1.0, which runs recorded: by `source_fingerprint` for pairs, by `item_fingerprint` for other items.
RECORDED = {
    "openmoji": "1abb3086c695e15c",
    "scenes-pairs": "b09d9c54a90a55e3",
    "scenes-questions": "0402ff1d7962c08d",
    "scenes-statements": "1eae457e3d5481ea",
    "scenes-premises": "4b0fe87beaeb3beb",
    "easy-vqa": "d0438c210a988ad2",
    "json": "e2828fcb6995b902",
    "csv": "f607290dfa74773a",
    "karpathy": "787a3d698d7fec34",
    "webdataset": "ecba37c3251dfe26",
    "vqa-v2": "edff59ae5c87873c",
    "albef-vqa": "34c5ffa73cbdca6f",
    "nlvr2": "4a7203674fd63f92",
    "snli-ve": "c3dea0e97bc8ad5d",
}

Fingerprint = Callable[..., str]


@pytest.fixture(name="fingerprint_of")
def fingerprint_of_list(tmp_path: Path) -> Fingerprint:
    def of(pairs: object, folder: str = "a") -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "pairs.json").write_text(json.dumps(pairs))
        return fingerprint(open_json((str(tmp_path / folder / "pairs.json"),), str(tmp_path / folder)))

    return of


@pytest.mark.parametrize("name", RECORDED)
def test_fingerprints_are_those_that_runs_recorded(name: str, tmp_path: Path) -> None:
    write_files(tmp_path)
    kind, values = settings(tmp_path)[name]
    section: SourceSection = TypeAdapter(SourceUnion).validate_python(values, strict=False)
    assert fingerprint(open_source(section, kind)) == RECORDED[name]


def test_every_source_has_a_recorded_fingerprint(tmp_path: Path) -> None:
    assert set(settings(tmp_path)) == set(RECORDED)


def test_the_same_pairs_elsewhere_have_the_same_fingerprint(fingerprint_of: Fingerprint) -> None:
    assert fingerprint_of(PAIRS) == fingerprint_of(PAIRS, "b")


@pytest.mark.parametrize(
    "other",
    [
        PAIRS[::-1],
        PAIRS[:-1],
        [{**PAIRS[0], "caption": "another"}, *PAIRS[1:]],
        [{**PAIRS[0], "image": "x.png"}, *PAIRS[1:]],
    ],
    ids=["order", "fewer", "caption", "image"],
)
def test_other_pairs_have_another_fingerprint(fingerprint_of: Fingerprint, other: object) -> None:
    assert fingerprint_of(PAIRS) != fingerprint_of(other)


def test_of_many_items_some_are_read_and_all_are_counted(
    fingerprint_of: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cbalign.data.source, "_FINGERPRINTED", 3)  # items 0, 3 and 6
    assert fingerprint_of(PAIRS) == fingerprint_of([PAIRS[0], {"image": "x.png", "caption": "x"}, *PAIRS[2:]])
    assert fingerprint_of(PAIRS) != fingerprint_of([*PAIRS[:3], {"image": "x.png", "caption": "x"}, *PAIRS[4:]])
    assert fingerprint_of(PAIRS) != fingerprint_of([*PAIRS, PAIRS[0]])


@pytest.mark.parametrize(
    ("name", "items", "kind"),
    [
        ("a.json", "pairs", "json"),
        ("a.jsonl", "pairs", "json"),
        ("a.csv", "pairs", "csv"),
        ("a.TSV", "pairs", "csv"),
        ("a.json", "questions", "albef-vqa"),
        ("a.jsonl", "statements", "nlvr2"),
        ("a.json", "premises", "snli-ve"),
    ],
)
def test_suffix_and_kind_of_items_choose_the_source_of_a_file(
    name: str, items: ItemKind, kind: str, tmp_path: Path
) -> None:
    section = source_of_file(tmp_path / name, items)
    assert section.part_name() == kind
    assert section.model_dump()["files"] == (str(tmp_path / name),)
    assert section.model_dump()["root"] == str(tmp_path)
    assert section.model_dump().get("delimiter", ",") == ("\t" if name == "a.TSV" else ",")


def test_a_file_that_no_source_reads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.parquet: no source reads questions from a \.parquet"):
        source_of_file(tmp_path / "a.parquet", "questions")


class Colours(SourceSection):
    """Coloured squares: a source as a plug-in would add it."""

    builds = f"{__name__}:ColourItems"
    items: ClassVar[tuple[ItemKind, ...]] = ("pairs", "questions")

    source: Literal["colours"] = setting(effect=Effect.DATA, help="Which kind of source this is.")
    size: int = setting(4, effect=Effect.DATA, help="Number of items.")


class ColourItems:
    """The items of `Colours`."""

    name = "colours"

    def __init__(self, section: Colours, items: ItemKind) -> None:
        self._size = section.size
        self._items = items

    def __len__(self) -> int:
        return self._size

    def item(self, index: int) -> Item:
        if self._items == "pairs":
            return Pair(f"{index}", ("dark red", "red"), index)
        return Question(index, f"{index}", "what colour?", (Answer("red", 1.0, 1),))

    def images(self, index: int) -> tuple[Image.Image, ...]:
        return (Image.new("RGB", (8, 8), (40 * index, 0, 0)),)

    def read(self, index: int) -> tuple[bytes, ...]:
        raise NotImplementedError

    def describe(self) -> str:
        return f"colours: {len(self)} items"


def test_a_source_is_one_section_and_one_class(tokenizer: Tokenizer) -> None:
    section = Colours(source="colours")
    assert section.data_sets() == ("colours",)
    options = {
        "preprocessing": Preprocessing(8),
        "batch_size": 2,
        "augmentation": None,
        "seed": 0,
        "workers": 0,
        "corrupt_limit": 0.0,
    }
    pairs = open_source(section, "pairs")
    assert list(islice(texts_of(pairs), 2)) == ["dark red", "red"]
    (batch,) = islice(Loader(PairCollation(pairs, tokenizer), **options).batches(), 1)  # type: ignore[arg-type]
    assert batch.images.shape == (2, 3, 8, 8)
    questions = FirstItems(open_source(section, "questions"), 3)
    assert (len(questions), questions.name) == (3, "colours, first 3 items")
    (asked,) = islice(Loader(QuestionCollation(questions, tokenizer), **options).batches(), 1)  # type: ignore[arg-type]
    assert asked.answer_weights.tolist() == [1.0, 1.0]


def test_items_that_a_source_lacks_are_refused() -> None:
    with pytest.raises(UsageError, match="source colours has pairs and questions, not premises"):
        open_source(Colours(source="colours"), "premises")
