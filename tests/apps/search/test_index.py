from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbalign.apps.search.find import find_nearest
from cbalign.apps.search.index import SearchIndex, open_index
from cbalign.apps.search.store import DATABASE, VECTORS, Store
from cbalign.errors import DataError, StorageError
from cbalign.runtime.session import Session

from .conftest import bomb, write_photo

Open = Callable[[], SearchIndex]
RED = np.array([1, 0, 0], np.float32)


@pytest.fixture
def opened(session: Session, photos: Path, tmp_path: Path) -> Open:
    return lambda: open_index(session, photos, tmp_path / "cache")


def names(index: SearchIndex, count: int = 3) -> list[str]:
    return [hit.path for hit in find_nearest(index, RED, count)]


def test_the_nearest_pictures_are_found(opened: Open) -> None:
    index = opened()
    assert names(index) == ["red/0.png", "red/1.png", "red/2.png"]
    assert [hit.score for hit in find_nearest(index, RED, 1)] == pytest.approx([0.998], abs=1e-3)
    assert len(find_nearest(index, RED, 100)) == 9


def test_only_what_is_new_is_encoded(opened: Open, photos: Path) -> None:
    assert (opened().changes.read, opened().changes.read) == (9, 0)
    write_photo(photos / "new.png", 0, 255)
    write_photo(photos / "red" / "1.png", 2, 255)  # not red any more
    changes = opened().changes
    assert (changes.files, changes.read, changes.encoded) == (10, 2, 2)
    assert names(opened()) == ["new.png", "red/0.png", "red/2.png"]


def test_moved_and_copied_files_are_known_by_their_content(opened: Open, photos: Path) -> None:
    opened()
    (photos / "red" / "0.png").rename(photos / "moved.png")
    shutil.copy(photos / "red" / "1.png", photos / "copy.png")
    index = opened()
    assert (index.changes.read, index.changes.encoded, index.changes.removed) == (2, 0, 1)
    first, second, *_ = find_nearest(index, RED, 3)
    assert (first.path, second.path, second.copies) == ("moved.png", "copy.png", ("red/1.png",))


def test_a_file_rewritten_with_the_same_size_and_time_is_noticed(opened: Open, photos: Path) -> None:
    path = photos / "red" / "0.png"
    path.with_suffix(".bmp").write_bytes(b"")
    Image.new("RGB", (4, 4), "red").save(path.with_suffix(".bmp"))
    opened()
    times = path.with_suffix(".bmp").stat()
    time.sleep(0.02)
    Image.new("RGB", (4, 4), "blue").save(path.with_suffix(".bmp"))
    os.utime(path.with_suffix(".bmp"), ns=(times.st_atime_ns, times.st_mtime_ns))
    assert opened().changes.encoded == 1


def test_removed_pictures_are_found_no_more_and_cost_nothing_when_they_return(opened: Open, photos: Path) -> None:
    opened()
    content = (photos / "red" / "0.png").read_bytes()
    (photos / "red" / "0.png").unlink()
    assert names(opened(), 2) == ["red/1.png", "red/2.png"]
    (photos / "back.png").write_bytes(content)
    index = opened()
    assert (index.changes.read, index.changes.encoded) == (1, 0)
    assert names(index, 1) == ["back.png"]


def test_what_cannot_be_decoded_is_reported_each_time_and_read_once(opened: Open, photos: Path) -> None:
    (photos / "half.jpg").write_bytes((photos / "red" / "0.png").read_bytes()[:45])
    (photos / "text.jpg").write_text("no picture")
    (photos / "program.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (photos / "notes.txt").write_text("passed over")
    (photos / "empty.gif").touch()
    for read in (13, 0):
        changes = opened().changes
        assert changes.read == read
        assert set(changes.problems) == {"half.jpg", "text.jpg", "program.png", "empty.gif"}
    assert "not an image" in changes.problems["program.png"]
    assert len(opened().contents.paths) == 9
    (photos / "half.jpg").unlink()
    assert "half.jpg" not in opened().changes.problems


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_image_bombs_are_refused_from_their_headers(opened: Open, photos: Path) -> None:
    (photos / "bomb.png").write_bytes(bomb(20_000, 20_000))
    (photos / "large.png").write_bytes(bomb(10_000, 10_000))
    problems = opened().changes.problems
    assert "too many pixels" in problems["bomb.png"]
    assert "10000 x 10000 pixels, more than" in problems["large.png"]


def test_links_are_passed_over_and_counted(opened: Open, photos: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "outside.png", 0, 255)
    (photos / "link.png").symlink_to(tmp_path / "outside.png")
    (photos / "loop").symlink_to(photos)
    (photos / "broken.jpg").symlink_to(tmp_path / "nothing.jpg")
    index = opened()
    assert index.changes.links == 3
    assert len(index.contents.paths) == 9


def test_hidden_files_and_pipes_are_passed_over(opened: Open, photos: Path) -> None:
    (photos / ".thumbnails").mkdir()
    shutil.copy(photos / "red" / "0.png", photos / ".thumbnails" / "0.png")
    os.mkfifo(photos / "pipe.png")
    assert opened().changes.files == 9


def test_a_name_that_is_no_utf8_is_indexed(opened: Open, photos: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        (photos / "red" / "0.png").rename(photos / name)
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    assert names(opened(), 1) == [name]
    assert opened().changes.read == 0


def test_every_bundle_has_an_index_of_its_own(session: Session, bundle: Path, photos: Path, tmp_path: Path) -> None:
    from tests.runtime.conftest import IMAGE, write_graph, write_manifest

    first = open_index(session, photos, tmp_path / "cache")
    write_graph(bundle / "fp32" / "image.onnx", IMAGE.replace("p = 2", "p = 1"))
    write_manifest(bundle)
    second = open_index(Session.open(bundle, "cpu"), photos, tmp_path / "cache")
    assert second.changes.encoded == 9
    assert first.cache != second.cache
    assert open_index(session, photos, tmp_path / "cache").changes.read == 0


@pytest.mark.parametrize(("name", "content"), [(DATABASE, b""), (DATABASE, b"nonsense" * 99), (VECTORS, b"short")])
def test_a_damaged_index_is_made_anew(opened: Open, name: str, content: bytes) -> None:
    (opened().cache / name).write_bytes(content)
    index = opened()
    assert index.changes.encoded == 9
    assert names(index, 1) == ["red/0.png"]


@pytest.mark.parametrize("noise", ["one bit", "everything"])
def test_damaged_vectors_are_encoded_again(opened: Open, noise: str) -> None:
    index = opened()
    before = np.array(index.contents.vectors)
    path = index.cache / VECTORS
    content = bytearray(path.read_bytes())
    for position in [17] if noise == "one bit" else range(len(content)):
        content[position] ^= 4
    path.write_bytes(content)
    again = opened()
    assert again.changes.encoded == (1 if noise == "one bit" else 9)
    found = {again.contents.paths[row]: again.contents.vectors[row] for row in again.contents.paths}
    expected = {index.contents.paths[row]: before[row] for row in index.contents.paths}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[paths], expected[paths]) for paths in found)


def test_an_index_of_an_earlier_version_keeps_its_vectors(opened: Open) -> None:
    import sqlite3

    index = opened()
    with sqlite3.connect(index.cache / DATABASE) as database:
        database.execute("DROP TABLE sums")
    assert opened().changes.encoded == 0
    with open(index.cache / VECTORS, "r+b") as file:
        file.write(b"\xff")
    assert opened().changes.encoded == 1, "its vectors have checksums since then"


def test_vectors_that_no_transaction_names_are_written_over(opened: Open, photos: Path) -> None:
    """What a process that was killed between the two writes leaves."""
    index = opened()
    with open(index.cache / VECTORS, "ab") as file:
        file.write(b"\x7f" * 50)
    write_photo(photos / "new.png", 0, 255)
    assert names(opened(), 1) == ["new.png"]
    assert (index.cache / VECTORS).stat().st_size == 10 * 3 * 4


def test_a_killed_update_keeps_what_it_has_committed(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(600):
        Image.new("RGB", (2, 2), (number % 256, number // 256, 7)).save(folder / f"{number:03}.bmp")
    code = (
        "import os, signal; from pathlib import Path; from cbalign.runtime.session import Session\n"
        "from cbalign.apps.search.index import open_index\n"
        f"session = Session.open({str(bundle)!r}, 'cpu')\n"
        "die = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == 400 else None\n"
        f"open_index(session, Path({str(folder)!r}), Path({str(tmp_path / 'cache')!r}), die)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    changes = open_index(Session.open(bundle, "cpu"), folder, tmp_path / "cache").changes
    assert (changes.files, changes.encoded) == (600, 600 - 256)


def test_two_processes_may_index_at_a_time(bundle: Path, photos: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from cbalign.runtime.session import Session\n"
        "from cbalign.apps.search.index import open_index\n"
        f"session, cache = Session.open({str(bundle)!r}, 'cpu'), Path({str(tmp_path / 'c')!r})\n"
        f"index = open_index(session, Path({str(photos)!r}), cache)\n"
        "print(len(index.contents.paths))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0] for process in both] == ["9\n", "9\n"]
    assert open_index(Session.open(bundle, "cpu"), photos, tmp_path / "c").changes.read == 0


def test_another_process_that_does_not_let_go_is_named(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    index = opened()
    holder = sqlite3.connect(index.cache / DATABASE, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr("cbalign.apps.search.store._WAIT", 0.1)
    with pytest.raises(StorageError, match="another process is writing"):
        Store.open(index.cache)
    holder.close()


def test_a_cache_that_cannot_be_written_is_told(session: Session, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written") as caught:
        open_index(session, photos, tmp_path / "file")
    assert "--cache" in str(caught.value)


def test_folders_without_images_are_told_apart(session: Session, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, message in (("nowhere", "no such folder"), ("empty", "has no images"), ("file", "is a file")):
        with pytest.raises(DataError, match=message):
            open_index(session, tmp_path / name, tmp_path / "cache")
