"""Statements, premises and questions as images with texts: what `cbalign data` makes of them."""

from __future__ import annotations

import json
from pathlib import Path

from cbalign.data.item_pairs import open_as_pairs
from cbalign.data.sections.labelled import NLVR2Source
from tests.cli.tiny import cbalign
from tests.tasks.tiny_tasks import write_tasks


def test_both_images_of_a_statement_are_entries(tmp_path: Path) -> None:
    place = write_tasks(tmp_path)
    section = NLVR2Source(source="nlvr2", files=(str(place / "nlvr2.jsonl"),), root=str(place))
    pairs = open_as_pairs(section, "statements")
    assert len(pairs) == 48
    first = [pairs.entry(i) for i in range(4)]
    assert [entry.image_key for entry in first] == [f"dev-0-0-img{i}.png" for i in (0, 1, 0, 1)]
    assert [entry.image_id for entry in first] == [0, 1, 0, 1], "two sentences about one pair of images"
    assert pairs.load(1).tobytes() != pairs.load(0).tobytes()
    assert pairs.read(1) == (place / "dev-0-0-img1.png").read_bytes()


def test_data_check_and_stats_look_at_items_and_pack_refuses_them(tmp_path: Path) -> None:
    place = write_tasks(tmp_path)
    (place / "dev-3-0-img1.png").unlink()
    found = cbalign(place, "data", "check", "nlvr2.yaml", "--split", "train", "--workers", "0", "--json")
    assert found.code == 1, found.stderr
    (split,) = json.loads(found.stdout)["splits"].values()
    assert (split["images"], split["missing"]["count"]) == (24, 1)
    assert "entry 7: image dev-3-0-img1.png" in split["missing"]["examples"][0]
    described = cbalign(place, "data", "stats", "entailment.yaml", "--workers", "0", "--json")
    assert described.code == 0, described.stderr
    for verb, spec, texts in (("check", "nlvr2", "statements"), ("stats", "entailment", "hypotheses")):
        shown = cbalign(place, "data", verb, f"{spec}.yaml", "--split", "train", "--workers", "0").stdout
        assert f"\n{texts} per image" in shown
        assert "caption" not in shown
    packed = cbalign(place, "data", "pack", "nlvr2.yaml", "--split", "train", "--output", "shards")
    assert packed.code == 2
    assert "source nlvr2 has statements, not pairs" in packed.stderr
