"""One rule for unreadable images, in training, evaluation, packing and checking."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from PIL import Image

from cbalign.data.batch import PairCollation
from cbalign.data.caption_length import CaptionRuler
from cbalign.data.check import check_data
from cbalign.data.corruption import UnreadableItems
from cbalign.data.image import Preprocessing
from cbalign.data.items import Item, Pair
from cbalign.data.json_pairs import open_json
from cbalign.data.loader import Loader
from cbalign.data.pack import Scaling, ShardLimits, pack
from cbalign.data.progress import no_progress
from cbalign.data.source import Source, gallery
from cbalign.data.text import Tokenizer
from cbalign.errors import DataError
from cbalign.evaluation.features import encode_gallery
from cbalign.evaluation.items import measure_items
from cbalign.evaluation.process_group import SINGLE_PROCESS
from tests.evaluation.conftest import TableEncoder, unit_rows

# 10 pairs of 7 images; the corrupt image is that of 3 pairs.
IMAGES = ("bad", "bad", "bad", "0", "0", "1", "2", "3", "4", "5")
Use = Callable[[Source[Pair], float, Tokenizer, Path], object]


@pytest.fixture
def source(tmp_path: Path) -> Source[Pair]:
    for name in IMAGES:
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    pairs = [{"image": f"{name}.png", "caption": f"{i}"} for i, name in enumerate(IMAGES)]
    (tmp_path / "list.json").write_text(json.dumps(pairs))
    return open_json([tmp_path / "list.json"], tmp_path)


def train(source: Source[Pair], limit: float, tokenizer: Tokenizer, folder: Path) -> None:
    loader = Loader(
        PairCollation(source, tokenizer),
        preprocessing=Preprocessing(8),
        batch_size=5,
        augmentation=None,
        seed=0,
        workers=0,
        corrupt_limit=limit,
    )
    batches = loader.batches()
    list(islice(batches, 2))
    batches.close()  # type: ignore[attr-defined]
    assert loader.unreadable_images == 3


def retrieve(source: Source[Pair], limit: float, tokenizer: Tokenizer, folder: Path) -> None:
    import numpy as np

    vectors = unit_rows(np.random.default_rng(0), 256, 4)
    encoded = encode_gallery(
        TableEncoder(vectors, vectors),
        source,
        gallery(source),
        batch_size=4,
        corrupt_limit=limit,
        keep_text_tokens=False,
        report=no_progress,
    )
    assert (encoded.skipped, len(encoded.images), len(encoded.texts)) == (1, 6, 7)


def classify(source: Source[Pair], limit: float, tokenizer: Tokenizer, folder: Path) -> None:
    found = measure_items(
        source,
        lambda pixels, items: [0] * len(items),
        preprocessing=Preprocessing(8),
        batch_size=4,
        corrupt_limit=limit,
        report=no_progress,
        process_group=SINGLE_PROCESS,
    )
    assert (found.skipped, len(found.positions)) == (3, 7)


def write_shards(source: Source[Pair], limit: float, tokenizer: Tokenizer, folder: Path) -> None:
    packed = pack(
        source,
        folder,
        limits=ShardLimits(100, 1_000_000),
        scaling=Scaling(),
        corrupt_limit=limit,
        workers=0,
        report=no_progress,
    )
    assert (packed.pairs, len(packed.skipped)) == (7, 1)


def check(source: Source[Pair], limit: float, tokenizer: Tokenizer, folder: Path) -> None:
    sources: dict[str, Source[Item]] = {"train": source}
    ruler = CaptionRuler(tokenizer.settings, None)
    found = check_data(sources, ruler, corrupt_limit=limit, workers=0, report=no_progress)
    assert found.splits["train"].unreadable_items == 3
    if found.problems:
        raise DataError(found.problems[0])


USES = [train, retrieve, classify, write_shards, check]


@pytest.mark.parametrize("use", USES)
def test_the_limit_is_a_share_of_the_items_for_all(
    use: Use, source: Source[Pair], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    use(source, 0.3, tokenizer, tmp_path)
    with pytest.raises(DataError, match=r"of 10 items have (missing or corrupt|unreadable) images.*2 are allowed"):
        use(source, 0.29, tokenizer, tmp_path)


@pytest.mark.parametrize("use", [retrieve, classify])
def test_an_evaluation_logs_how_many_items_it_skipped(
    use: Use, source: Source[Pair], tokenizer: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        use(source, 1.0, tokenizer, tmp_path)
    (message,) = caplog.messages
    assert "skipped 3 of 10 items with missing or corrupt images, first: " in message
    assert "entry 1: image bad.png" in message


def test_a_message_has_place_count_limit_examples_and_remedy(source: Source[Pair]) -> None:
    unreadable = UnreadableItems(source, 0.3)
    assert unreadable.add(0, "list.json, entry 1: no such image", items=2)
    assert not unreadable.add(0, "list.json, entry 1: no such image", items=2)
    with pytest.raises(DataError) as raised:
        unreadable.add(7, "list.json, entry 8: cannot be decoded", items=2)
    assert raised.value.exit_code == 3
    text = str(raised.value).replace(source.name, "list")
    assert text == (
        "list: at least 4 of 10 items have missing or corrupt images, 3 are allowed (data.corrupt_limit: 0.3); "
        "the first:\n  list.json, entry 1: no such image\n  list.json, entry 8: cannot be decoded\n"
        "Repair the images, remove them from the list, or raise data.corrupt_limit; "
        "for files, `cbalign data check` finds all of them."
    )


def test_no_limit_permits_that_nothing_is_left(source: Source[Pair]) -> None:
    unreadable = UnreadableItems(source, 1.0)
    with pytest.raises(DataError, match="no image can be read; the first: gone"):
        unreadable.add(0, "gone", items=10)
