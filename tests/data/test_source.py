"""What two sources have to share to have one fingerprint."""

import json

import pytest

import cbalign.data.source
from cbalign.data.json_pairs import open_json
from cbalign.data.source import source_fingerprint

PAIRS = [{"image": f"{n}.png", "caption": f"picture {n}"} for n in range(7)]


@pytest.fixture
def fingerprint(tmp_path):
    def of(pairs, folder="a"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "pairs.json").write_text(json.dumps(pairs))
        return source_fingerprint(open_json((str(tmp_path / folder / "pairs.json"),), str(tmp_path / folder)))

    return of


def test_the_same_pairs_elsewhere_have_the_same_fingerprint(fingerprint):
    assert fingerprint(PAIRS) == fingerprint(PAIRS, "b")


@pytest.mark.parametrize(
    "other",
    [
        PAIRS[::-1],
        PAIRS[:-1],
        [{**PAIRS[0], "caption": "another"}, *PAIRS[1:]],
        [{**PAIRS[0], "image": "x.png"}, *PAIRS[1:]],
    ],
    ids=["order", "fewer", "caption", "image"],
)
def test_other_pairs_have_another(fingerprint, other):
    assert fingerprint(PAIRS) != fingerprint(other)


def test_of_many_entries_some_are_looked_at_and_all_are_counted(fingerprint, monkeypatch):
    monkeypatch.setattr(cbalign.data.source, "_FINGERPRINTED", 3)  # entries 0, 3 and 6
    assert fingerprint(PAIRS) == fingerprint([PAIRS[0], {"image": "x.png", "caption": "x"}, *PAIRS[2:]])
    assert fingerprint(PAIRS) != fingerprint([*PAIRS[:3], {"image": "x.png", "caption": "x"}, *PAIRS[4:]])
    assert fingerprint(PAIRS) != fingerprint([*PAIRS, PAIRS[0]])
