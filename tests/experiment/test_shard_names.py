"""Patterns of shards."""

import pytest

from cbalign.experiment.shard_names import expand_shards


def test_ranges_keep_their_zeros_and_multiply():
    assert expand_shards("a-{008..011}.tar") == ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]
    assert expand_shards("{0..1}/{2..3}.tar") == ["0/2.tar", "0/3.tar", "1/2.tar", "1/3.tar"]
    assert expand_shards("plain.tar") == ["plain.tar"]


@pytest.mark.parametrize(("pattern", "told"), [("{3..1}.tar", "is descending"), ("{0..999999999}.tar", "more than")])
def test_what_no_folder_holds_is_refused(pattern, told):
    with pytest.raises(ValueError, match=told):
        expand_shards(pattern)
