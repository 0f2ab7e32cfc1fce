"""Plans against trainings that really run; `python -m benchmarks.plan` prints the table."""

import pytest

from benchmarks.plan import LIMIT, SIZES, compare


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_memory_and_operations_are_those_of_a_training(size):
    row = compare(size, "bf16")
    assert max(map(abs, row.errors)) < LIMIT, row
