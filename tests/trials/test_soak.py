"""A few seconds of the soak."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.trials.soak import soak


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_killed_threads_full_disks_and_hostile_clients_lose_no_request(tmp_path: Path) -> None:
    counts = soak(4, tmp_path)
    assert counts.lost == []
    assert counts["tracebacks in the log"] == 0
    assert counts["answered"] > 10
    assert counts["fault: killed threads"] > 3
