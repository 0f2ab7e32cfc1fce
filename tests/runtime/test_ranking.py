from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbalign.runtime import ranking
from cbalign.runtime.ranking import nearest


@given(items=st.integers(0, 50), count=st.integers(0, 60), levels=st.integers(1, 5), seed=st.integers(0, 20))
def test_the_nearest_are_those_that_a_full_sort_puts_first(items: int, count: int, levels: int, seed: int) -> None:
    """Few distinct values: ties everywhere, of which the first in order win."""
    generator = np.random.default_rng(seed)
    vectors = generator.integers(0, levels, (items, 3)).astype(np.float32)
    query = generator.integers(0, levels, 3).astype(np.float32)
    among = generator.random(items) < 0.7
    allowed = np.flatnonzero(among)
    expected = allowed[np.argsort(-(vectors @ query)[allowed], kind="stable")][:count]
    found = nearest(query, vectors, count, among)
    assert found.position.tolist() == expected.tolist()
    assert found.score.tolist() == (vectors @ query)[expected].tolist()


def test_vectors_on_disk_are_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_BLOCK_BYTES", 1000)
    vectors = np.random.default_rng(0).random((1000, 8), np.float32)
    vectors.tofile(tmp_path / "vectors")
    mapped = np.memmap(tmp_path / "vectors", np.float32, "r", shape=vectors.shape)
    found = nearest(vectors[7], mapped, 20)
    assert found.position.tolist() == np.argsort(-(vectors @ vectors[7]), kind="stable")[:20].tolist()
