"""An imported run is a run: other trainings start from it, and its graphs are exported."""

from __future__ import annotations

from pathlib import Path

import torch
from click.testing import CliRunner
from PIL import Image

from cbalign.cli import main
from cbalign.tasks.load import load_model
from tests.interop.checkpoints.conftest import embeddings, images, imported
from tests.interop.checkpoints.test_numbers import clip_texts, write_clip

SPEC = """\
extends: {run}/spec.yaml
name: with-codes
init: {{run: {run}}}
model:
  fusion: {{layers: 1}}
  codebook: {{size: 8}}
objectives: {{codebook: {{weight: 1}}, matching: {{weight: 1}}}}
data:
  train: {{source: csv, files: [pairs.csv]}}
  validation: null
  test: null
evaluate: []
train: {{duration: 2 steps, batch_size: 2, precision: fp32, device: cpu, schedule: {{warmup: 0 steps}}}}
"""


def write_pairs() -> None:
    for name in ("red", "blue"):
        Image.new("RGB", (8, 8), name).save(f"{name}.png")
    Path("pairs.csv").write_text("image,caption\nred.png,w1 w2\nblue.png,w3\n")


def test_a_training_starts_from_an_imported_run_and_adds_a_codebook(place):
    write_clip(place / "clip")
    before, document = imported("clip", "clip")
    write_pairs()
    Path("spec.yaml").write_text(SPEC.format(run=Path(document["run"]).absolute()))
    result = CliRunner().invoke(main, ["train", "spec.yaml"])
    assert result.exit_code == 0, (result.stderr, result.exception)
    after = load_model(Path("runs") / Path("runs/latest").read_text().strip())
    assert after.model.capability("codebook") is not None
    pixels, (ids, mask) = images(), clip_texts()
    for old, new in zip(embeddings(before, pixels, ids, mask), embeddings(after, pixels, ids, mask)):
        assert 0 < float((old - new).abs().max()) < 0.1  # two small steps away


def test_the_run_is_complete_without_the_checkpoint(place):
    model = write_clip(place / "clip")
    _, document = imported("clip", "clip")
    Path("clip").rename("elsewhere")
    run = Path(document["run"]).rename("moved")
    encoder = load_model(run)
    assert torch.equal(encoder.model.student.image_projection.weight, model.visual_projection.weight)
    assert float(encoder.model.student.image_projection.bias.abs().max()) == 0
    assert encoder.tokenizer.encode(["w1"]).input_ids.tolist() == [[42, 3, 43]]
    assert encoder.preprocessing.mean == (0.5, 0.4, 0.3)
    assert encoder.preprocessing.fit == "crop"
