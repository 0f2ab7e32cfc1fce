"""A task small enough to train in milliseconds, with everything a real one has: see tiny_task.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tiny_task is also run as a program of its own

import tiny_task

from cbalign.engine.run import RunFolder


@pytest.fixture
def new_run(tmp_path):
    """Makes run directories: `new_run()`."""

    def make() -> RunFolder:
        return tiny_task.new_run(tmp_path / "runs")

    return make
