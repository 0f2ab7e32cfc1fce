"""A tiny real experiment, and the command line on it: a few dozen drawings, all four objectives, seconds."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from cbalign.cli import main

# Of attention, cross-attention, a queue and a codebook, one each.
SPEC = """\
# kept as it is
cbalign: 1
name: tiny
model:
  vision:
    {architecture: vit_tiny_patch16_224, image_size: 16, patch_size: 8, layers: 1, width: 16, heads: 2, init: random}
  text:
    {architecture: bert-mini, layers: 1, width: 16, heads: 2, intermediate: 16, init: random, tokenizer: captions,
     vocabulary: 100}
  fusion: {layers: 1}
  joint_dim: 8
  codebook: {size: 6}
  queue: {length: 8}
data:
  train: {source: csv, files: [pairs.csv]}
  validation: {source: csv, files: [pairs.csv]}
evaluate: [{kind: retrieval, on: validation, protocols: [dual]}]
train:
  duration: 6 steps
  batch_size: 4
  global_batch_size: 8
  precision: fp32
  device: cpu
  schedule: {kind: cosine, warmup: 1 step}
  log_every: 2 steps
  evaluate_every: 3 steps
  checkpoint_every: 2 steps
"""


@dataclass(frozen=True)
class Result:
    code: int
    stdout: str
    stderr: str


def cbalign(folder: Path, *words: str) -> Result:
    """Run the command line in this process, which has torch imported already."""
    out, err = io.StringIO(), io.StringIO()
    streams = contextlib.ExitStack()
    streams.enter_context(contextlib.chdir(folder))
    streams.enter_context(contextlib.redirect_stdout(out))
    streams.enter_context(contextlib.redirect_stderr(err))
    with streams, pytest.raises(SystemExit) as caught:
        main(list(words))
    assert "Traceback" not in err.getvalue()
    assert isinstance(caught.value.code, int)
    return Result(caught.value.code, out.getvalue(), err.getvalue())


def command(*words: str) -> list[str]:
    """The same as a process of its own."""
    return [sys.executable, "-c", "from cbalign.cli import main; main()", *words]


def write_experiment(folder: Path) -> Path:
    """`spec.yaml` and its data in a folder."""
    words = ["red", "green", "blue", "grey", "pink", "teal", "plum", "gold"]
    rows = ["image,caption"]
    for i in range(24):
        Image.new("RGB", (20, 20), (i * 10, 255 - i * 10, 7 * i)).save(folder / f"{i}.png")
        rows.append(f"{i}.png,a {words[i % 8]} square number {i}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    (folder / "spec.yaml").write_text(SPEC)
    return folder
