"""Tiny checkpoints of every family, written by the libraries that define them, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from cbalign.cli import main
from cbalign.tasks.load import load_model

WORDS = [f"w{i}" for i in range(40)]
SIZE = 32


def write_tokenizer(folder: Path, *, start: str | None = "<start>", end: str = "<end>", pad: str = "<pad>") -> None:
    """A tokenizer of whole words whose end token is the last of the vocabulary, as in CLIP."""
    special = [token for token in (start, end) if token]
    vocabulary = {token: i for i, token in enumerate([pad, "<unk>", *WORDS, *special])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single=" ".join([*([start] if start else []), "$A", end]),
        special_tokens=[(token, vocabulary[token]) for token in special],
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokens = {"eos_token": end, "pad_token": pad, "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token=start, **tokens).save_pretrained(folder)


def write_processor(folder: Path, **changes: object) -> None:
    config = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": SIZE},
        "do_center_crop": True,
        "crop_size": {"height": SIZE, "width": SIZE},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.25, 0.25, 0.2],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(config | changes))


def randomise(model: torch.nn.Module, std: float = 0.2) -> torch.nn.Module:
    """Weights that are far from their initial values, so that no tensor can be missed unnoticed."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "logit" not in name:
                parameter.add_(torch.randn_like(parameter) * std)
    return model.eval()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words: str):
    return CliRunner().invoke(main, ["import", *words])


def imported(*words: str):
    """The encoder and the JSON document of an import that succeeds."""
    result = call(*words, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    document = json.loads(result.stdout)
    return load_model(Path(document["run"])), document


def refused(*words: str) -> str:
    """The message of an import that fails; nothing is written."""
    result = call(*words)
    assert result.exit_code == 3, (result.stderr, result.exception)
    assert not Path("runs").exists()
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


def images(count: int = 3, size: int = SIZE) -> torch.Tensor:
    """uint8 pixels (B, 3, H, W)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def normalised(encoder, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels as the original model takes them."""
    tower = encoder.model.student.vision
    return (pixels.float() / 255 - tower.mean) / tower.std


@torch.no_grad()
def embeddings(encoder, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor):
    student = encoder.model.student.eval()
    return student.embed_images(student.vision(pixels)), student.embed_texts(student.text(ids, mask), mask)
