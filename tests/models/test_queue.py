from collections import deque

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cbalign.models.queue import FeatureQueue

DIM = 2


@settings(max_examples=100)
@given(length=st.integers(0, 9), batches=st.lists(st.integers(0, 25), max_size=8))
def test_the_queue_holds_the_last_features_whatever_the_batches(length, batches):
    """Against a deque; batches may be longer than the queue."""
    queue = FeatureQueue(length, DIM)
    oracle: deque[tuple[list[float], int]] = deque(maxlen=length)
    number = 0
    for size in batches:
        features = torch.arange(number, number + size * DIM, dtype=torch.float32).view(size, DIM)
        ids = torch.arange(number, number + size)
        number += size * DIM
        queue.push(features, ids)
        oracle.extend(zip(features.tolist(), ids.tolist(), strict=True))
        kept, owners = queue.contents()
        assert sorted(zip(kept.tolist(), owners.tolist(), strict=True)) == sorted(oracle)
        if len(oracle) == length > 0:  # the pointer stands at the oldest, which the next batch replaces
            assert queue.image_ids[queue.pointer] == oracle[0][1]


def test_a_new_queue_is_empty():
    features, image_ids = FeatureQueue(32, 8).contents()
    assert features.shape == (0, 8)
    assert image_ids.shape == (0,)


def test_a_queue_travels_with_the_checkpoint():
    old, new = FeatureQueue(5, DIM), FeatureQueue(5, DIM)
    old.push(torch.ones(3, DIM), torch.arange(3))
    new.load_state_dict(old.state_dict())
    new.push(torch.zeros(1, DIM), torch.tensor([9]))
    assert new.contents()[1].tolist() == [0, 1, 2, 9]


def test_half_precision_features_are_kept_in_the_queues_own():
    queue = FeatureQueue(4, DIM)
    queue.push(torch.ones(2, DIM, dtype=torch.bfloat16), torch.arange(2))
    assert queue.features.dtype == torch.float32
