"""Files and folders that appear whole or not at all, also when several processes write them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from cbalign.engine.files import UNFINISHED, new_folder, write_durably
from cbalign.errors import StorageError

WRITING = """
import sys, time
from pathlib import Path
from cbalign.engine.files import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("x")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="locks")
def test_a_folder_that_another_process_writes_is_refused_and_one_of_a_killed_process_is_replaced(
    tmp_path: Path,
) -> None:
    target = tmp_path / "made"
    command = [sys.executable, "-c", WRITING, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        with pytest.raises(StorageError, match=r"Another process is writing .*made"), new_folder(target):
            pass
        assert (tmp_path / f"{UNFINISHED}made" / "half").exists(), "what the other one wrote is untouched"
        process.send_signal(signal.SIGKILL)
        process.wait()
    with new_folder(target) as folder:
        (folder / "whole").write_text("y")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert [path.name for path in target.iterdir()] == ["whole"]


def write_often(path: Path, letter: str) -> None:
    until = time.monotonic() + 1
    while time.monotonic() < until:
        write_durably(path, letter.encode() * 5_000)


@pytest.mark.skipif(os.name != "posix", reason="locks")
def test_processes_that_write_one_file_do_not_mix_or_disturb_each_other(tmp_path: Path) -> None:
    processes = [get_context("fork").Process(target=write_often, args=(tmp_path / "latest", x)) for x in "abc"]
    for process in processes:
        process.start()
    seen = set()
    while any(process.is_alive() for process in processes):
        if (tmp_path / "latest").exists():
            seen.add((tmp_path / "latest").read_text())
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert seen <= {letter * 5_000 for letter in "abc"}
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]
