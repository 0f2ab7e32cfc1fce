"""Features on disk that several processes write."""

import os
import pickle
import time

import numpy as np
import pytest

from cbalign.data.feature_store import FeatureStore
from cbalign.data.views import generator_of_view, image_digest, view_numbers


def key(name: str, view: int = 0):
    return image_digest(name.encode()), view


def features(*values: float):
    return np.array(values, np.float16)[:, None, None] * np.ones((1, 3, 2), np.float16)


def test_two_trainings_write_into_one_folder(tmp_path):
    one, other = FeatureStore(tmp_path), FeatureStore(tmp_path)
    one.write([key("a"), key("b")], features(1, 2))
    other.write([key("b"), key("c", 3)], features(2, 3))
    assert key("c", 3) not in one
    one.refresh()
    assert len(one) == 3
    assert [float(one[k].max()) for k in (key("a"), key("b"), key("c", 3))] == [1, 2, 3]
    assert one[key("a")].shape == (3, 2)
    assert key("c") not in one


def test_what_a_killed_process_left_is_ignored_and_removed_after_a_day(tmp_path):
    FeatureStore(tmp_path).write([key("a")], features(1))
    (whole,) = tmp_path.glob("shard-*")
    left, fresh = tmp_path / ".unfinished-shard-0.safetensors", tmp_path / ".unfinished-shard-1.safetensors"
    for path in (left, fresh):
        path.write_bytes(whole.read_bytes()[:50])
    day_ago = time.time() - 25 * 3600
    os.utime(left, (day_ago, day_ago))
    store = FeatureStore(tmp_path)
    store.describe({})
    assert len(store) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [fresh.name, "about.json", whole.name]


def test_a_worker_process_opens_its_own_maps(tmp_path):
    store = FeatureStore(tmp_path)
    store.write([key("a")], features(4))
    store[key("a")]
    sent = pickle.dumps(store)
    assert len(sent) < 2000
    assert pickle.loads(sent)[key("a")].max() == 4


@pytest.mark.parametrize("place", ["features", "digests", "views"])
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path, place, caplog):
    FeatureStore(tmp_path).write([key("a"), key("b")], features(1, 2))
    (path,) = tmp_path.glob("shard-*")
    content = bytearray(path.read_bytes())
    needle = {"features": features(1).tobytes(), "digests": key("b")[0], "views": bytes(8)}[place]
    content[content.rindex(needle)] ^= 1
    path.write_bytes(content)
    assert len(FeatureStore(tmp_path)) == 0
    assert "is damaged" in caplog.text
    assert not path.exists()


def test_features_of_pooled_vectors(tmp_path):
    store = FeatureStore(tmp_path)
    store.write([key("a")], np.arange(4, dtype=np.float16)[None])
    assert FeatureStore(tmp_path)[key("a")].tolist() == [0, 1, 2, 3]


def test_each_epoch_uses_the_next_view_and_the_teacher_another_one():
    student, teacher = zip(*(view_numbers(epoch, 3, two_views=True) for epoch in range(12)))
    assert student == (0, 1, 2) * 4
    assert all(one != other for one, other in zip(student, teacher))
    assert set(zip(student, teacher)) == {(i, j) for i in range(3) for j in range(3) if i != j}
    assert view_numbers(5, 1, two_views=False) == (0,)


def test_a_fixed_view_depends_on_the_bytes_and_its_number_only():
    first = generator_of_view(image_digest(b"picture"), 2).random(4)
    assert generator_of_view(image_digest(b"picture"), 2).random(4).tolist() == first.tolist()
    assert generator_of_view(image_digest(b"picture"), 1).random(4).tolist() != first.tolist()
    assert generator_of_view(image_digest(b"other"), 2).random(4).tolist() != first.tolist()
