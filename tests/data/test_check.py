"""Items with several images or no captions in `cbalign data`."""

from __future__ import annotations

import json
from pathlib import Path

from cbalign.data.sections.labelled import NLVR2Source
from cbalign.data.source import open_source
from cbalign.data.source_images import SourceImages
from tests.cli.tiny import cbalign
from tests.tasks.tiny_tasks import write_tasks


def test_both_images_of_a_statement_are_listed(tmp_path: Path) -> None:
    place = write_tasks(tmp_path)
    section = NLVR2Source(source="nlvr2", files=(str(place / "nlvr2.jsonl"),), root=str(place))
    images = SourceImages.of(open_source(section, "statements"))
    assert len(images) == 48
    assert [images.key(i) for i in range(4)] == [f"dev-0-0-img{i}.png" for i in (0, 1, 0, 1)]
    assert images.image_ids[:4].tolist() == [0, 1, 0, 1], "two sentences about one pair of images"
    assert images.open(1).tobytes() != images.open(0).tobytes()
    assert images.read(1) == (place / "dev-0-0-img1.png").read_bytes()
    assert images.texts_per_image().count == 24


def test_data_check_and_stats_read_all_kinds_of_items_and_pack_reads_pairs_only(tmp_path: Path) -> None:
    place = write_tasks(tmp_path)
    (place / "dev-3-0-img1.png").unlink()
    found = cbalign(place, "data", "check", "nlvr2.yaml", "--split", "train", "--workers", "0", "--json")
    assert found.code == 1, found.stderr
    (split,) = json.loads(found.stdout)["splits"].values()
    assert (split["items"], split["images"], split["captions"]["count"]) == (24, 24, 24)
    assert (split["missing"]["count"], split["unreadable_items"]) == (1, 2)
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
