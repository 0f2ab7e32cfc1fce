from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cbalign.data.batch import Batch, PairCollation
from cbalign.data.image import Preprocessing, prepare
from cbalign.data.items import Pair
from cbalign.data.json_pairs import open_json
from cbalign.data.loader import Loader
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer
from cbalign.errors import DataError
from cbalign.experiment.data import AugmentationSection

PAIRS = 23
WORDS = ["red", "dog", "grass", "sky", "house", "cat", "blue"]


class Pictures:
    """Images of one colour each; those in `broken` cannot be read."""

    name = "pictures"

    def __init__(self, pairs: int = PAIRS, broken: tuple[int, ...] = ()) -> None:
        self._pairs = pairs
        self._broken = set(broken)

    def __len__(self) -> int:
        return self._pairs

    def item(self, index: int) -> Pair:
        captions = tuple(f"{WORDS[(index + k) % 7]} {WORDS[k]}" for k in range(1 + index % 3))
        return Pair(f"{index}.png", captions, index // 2)

    def images(self, index: int) -> tuple[Image.Image, ...]:
        if index in self._broken:
            raise DataError(f"list.json, entry {index}: cannot be decoded")
        noise = np.random.default_rng(index).integers(0, 256, (20, 24, 3), np.uint8)
        return (Image.fromarray(noise),)

    def read(self, index: int) -> tuple[bytes, ...]:
        raise NotImplementedError

    def describe(self) -> str:
        return self.name


MakeLoader = Callable[..., Loader[Batch]]


@pytest.fixture(scope="module")
def make(tokenizer: Tokenizer) -> MakeLoader:
    def build(source: Source[Pair] | None = None, **changes: object) -> Loader[Batch]:
        options: dict[str, object] = {
            "preprocessing": Preprocessing(16),
            "batch_size": 4,
            "augmentation": AugmentationSection(),
            "seed": 3,
            "workers": 0,
            "corrupt_limit": 0.0,
        }
        return Loader(PairCollation(source or Pictures(), tokenizer), **(options | changes))  # type: ignore[arg-type]

    return build


def take(loader: Loader[Batch], count: int, start: int = 0) -> list[Batch]:
    batches = loader.batches(start)
    taken = list(itertools.islice(batches, count))
    batches.close()  # type: ignore[attr-defined]
    return taken


def tensors(batch: Batch) -> list[torch.Tensor]:
    assert batch.teacher_images is not None
    return [
        batch.images,
        batch.teacher_images,
        batch.input_ids,
        batch.attention_mask,
        batch.image_ids,
        batch.indices,
    ]


def assert_equal(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for a, b in zip(tensors(one), tensors(other), strict=True):
            assert torch.equal(a, b)


def test_batch_has_the_shapes_and_types_it_declares(make: MakeLoader):
    (batch,) = take(make(), 1)
    assert batch.images.shape == batch.teacher_images.shape == (4, 3, 16, 16)
    assert batch.images.dtype == torch.uint8
    assert batch.input_ids.shape == batch.attention_mask.shape
    assert batch.input_ids.dtype == batch.image_ids.dtype == torch.int64
    assert torch.equal(batch.image_ids, batch.indices // 2)


def test_images_and_captions_belong_to_their_entries(make: MakeLoader, tokenizer: Tokenizer):
    source = Pictures()
    for batch in take(make(augmentation=None), 5):
        assert batch.teacher_images is None
        for row, index in enumerate(batch.indices.tolist()):
            expected = torch.from_numpy(prepare(source.images(index)[0], Preprocessing(16)).copy()).permute(2, 0, 1)
            assert torch.equal(batch.images[row], expected)
            words = tokenizer.decode(batch.input_ids[row].tolist())
            assert words in source.item(index).captions


def test_an_epoch_shows_each_pair_once_and_drops_the_rest(make: MakeLoader):
    loader = make()
    assert loader.steps_per_epoch == PAIRS // 4
    epochs = [torch.cat([batch.indices for batch in take(loader, 5, start=5 * epoch)]).tolist() for epoch in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 20
    assert len(set(map(tuple, epochs))) == 3


def test_seed_decides_the_order(make: MakeLoader):
    orders = {tuple(take(make(seed=seed), 1)[0].indices.tolist()) for seed in range(4)}
    assert len(orders) == 4


def test_views_differ_between_teacher_and_student_and_between_epochs(make: MakeLoader):
    loader = make(Pictures(4))
    first, second = take(loader, 2)
    assert not torch.equal(first.images, first.teacher_images)
    order = torch.argsort(first.indices), torch.argsort(second.indices)
    assert not torch.equal(first.images[order[0]], second.images[order[1]])


def test_one_view_when_the_spec_says_so(make: MakeLoader):
    (batch,) = take(make(augmentation=AugmentationSection(two_views=False)), 1)
    assert batch.teacher_images is None


def test_all_captions_of_an_entry_are_used_in_time(make: MakeLoader):
    seen = {
        tuple(batch.input_ids[row].tolist())
        for batch in take(make(augmentation=None), 60)
        for row in range(4)
        if batch.indices[row] == 2
    }
    assert len(seen) == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_batches(make: MakeLoader, workers: int):
    assert_equal(take(make(workers=workers), 12), take(make(), 12))


@settings(max_examples=25)
@given(start=st.integers(0, 40), seed=st.integers(0, 2**31 - 1))
def test_starting_late_continues_the_same_stream(make: MakeLoader, start: int, seed: int):
    loader = make(Pictures(11), seed=seed, batch_size=3)
    assert_equal(take(loader, 3, start), take(loader, start + 3)[start:])


def test_ranks_see_the_slices_of_the_doubled_batch(make: MakeLoader):
    whole = take(make(batch_size=8), 5)
    halves = [take(make(rank=rank, world_size=2), 5) for rank in range(2)]
    for step, batch in enumerate(whole):
        for name in ("images", "teacher_images", "image_ids", "indices"):
            parts = torch.cat([getattr(half[step], name) for half in halves])
            assert torch.equal(parts, getattr(batch, name))


def test_fewer_pairs_than_a_batch_is_a_data_error(make: MakeLoader):
    with pytest.raises(DataError, match=r"pictures has 23 items, fewer than one batch of 24(?s:.*)at most 23"):
        make(batch_size=24)
    with pytest.raises(DataError, match=r"24 \(12 on each of 2 processes\)(?s:.*)at most 11"):
        make(batch_size=12, world_size=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_replaced_counted_and_logged_once(
    make: MakeLoader, caplog: pytest.LogCaptureFixture, workers: int
):
    loader = make(Pictures(broken=(1, 7)), corrupt_limit=0.1, workers=workers)
    with caplog.at_level(logging.WARNING):
        batches = take(loader, 15)
    assert all(len(batch) == 4 and not set(batch.indices.tolist()) & {1, 7} for batch in batches)
    assert loader.unreadable_images == 2
    assert sorted(caplog.messages) == [f"skipped: list.json, entry {i}: cannot be decoded" for i in (1, 7)]


def test_replacements_are_the_same_from_any_step_and_on_any_rank(make: MakeLoader):
    source = Pictures(broken=(0, 3, 8, 9))
    straight = take(make(source, corrupt_limit=0.5), 8)
    assert_equal(take(make(source, corrupt_limit=0.5, workers=2), 3, start=5), straight[5:])
    ranks = [take(make(source, corrupt_limit=0.5, batch_size=2, rank=r, world_size=2), 8) for r in range(2)]
    for step, batch in enumerate(straight):
        assert torch.equal(torch.cat([rank[step].indices for rank in ranks]), batch.indices)


@pytest.mark.parametrize("workers", [0, 2])
def test_more_unreadable_images_than_the_limit_are_a_data_error_with_examples(make: MakeLoader, workers: int):
    loader = make(Pictures(broken=(1, 7, 12)), corrupt_limit=0.1, workers=workers)
    with pytest.raises(DataError) as raised:
        take(loader, 15)
    message = str(raised.value)
    assert "at least 3 of 23 items have missing or corrupt images" in message
    assert "2 are allowed (data.corrupt_limit: 0.1)" in message
    assert message.count("list.json, entry") == 3


def test_no_readable_image_at_all_ends_even_with_a_limit_of_one(make: MakeLoader):
    with pytest.raises(DataError, match="no image can be read"):
        take(make(Pictures(broken=tuple(range(PAIRS))), corrupt_limit=1.0), 1)


def test_real_files_with_a_corrupt_one(make: MakeLoader, tmp_path: Path):
    for i in range(6):
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "4.png").write_bytes(b"\x89PNG")
    lines = "".join(f'{{"image": "{i}.png", "caption": "red dog"}}\n' for i in range(6))
    (tmp_path / "list.json").write_text(lines)
    source = open_json([tmp_path / "list.json"], tmp_path)
    loader = make(source, corrupt_limit=0.2)
    straight = take(loader, 4)
    assert loader.unreadable_images == 1
    assert_equal(take(make(source, corrupt_limit=0.2), 2, start=2), straight[2:])
    with pytest.raises(DataError, match=r"list\.json, entry 5: image 4\.png"):
        take(make(source), 4)


def test_killed_worker_is_replaced_without_changing_the_stream(make: MakeLoader, caplog: pytest.LogCaptureFixture):
    batches = make(workers=2).batches()
    first = next(batches)
    for child in children_of(os.getpid()):
        os.kill(child, signal.SIGKILL)
    with caplog.at_level(logging.WARNING):
        rest = list(itertools.islice(batches, 7))
    batches.close()  # type: ignore[attr-defined]
    assert_equal([first, *rest], take(make(), 8))


def test_workers_leave_interrupts_to_the_main_process(make: MakeLoader):
    batches = make(workers=2).batches()
    first = next(batches)
    for child in children_of(os.getpid()):
        os.kill(child, signal.SIGINT)
    rest = list(itertools.islice(batches, 7))
    workers = children_of(os.getpid())
    batches.close()  # type: ignore[attr-defined]
    assert_equal([first, *rest], take(make(), 8))
    assert workers
    assert not set(workers) & set(children_of(os.getpid()))


def test_workers_end_when_their_parent_is_killed():
    program = """
import os, signal
from cbalign.data.batch import Batch, PairCollation
from cbalign.data.image import Preprocessing
from cbalign.data.loader import Loader
from cbalign.data.openmoji import OpenMoji
from cbalign.data.text import TextSettings, Tokenizer
pairs = PairCollation(OpenMoji(split="test", render_size=16), Tokenizer.train(["a"], 64, TextSettings(5)))
options = dict(batch_size=4, augmentation=None, seed=0, workers=2, corrupt_limit=0)
loader = Loader(pairs, preprocessing=Preprocessing(16), **options)
batches = loader.batches()
next(batches)
print(open(f"/proc/self/task/{os.getpid()}/children").read(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    # Workers inherit the pipe, so reading it ends only when all of them have ended.
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert len(killed.stdout.split()) == 2


def children_of(pid: int) -> list[int]:
    children = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            children += [int(child) for child in (task / "children").read_text().split()]
    return children
