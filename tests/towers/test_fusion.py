"""Fusion layers and heads behind towers of other widths, and masked words with tokenizers of any kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cbalign.data.batch import Batch
from cbalign.data.published_tokenizer import read_published
from cbalign.data.text import TextSettings, Tokenizer, VocabularyInfo
from cbalign.errors import SpecError
from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.load import load_experiment
from cbalign.models import pretrained
from cbalign.models.backbone import build_backbone
from cbalign.models.tower import heads_for
from cbalign.tasks.align.network import build_alignment
from cbalign.tasks.entailment.network import build_entailment
from cbalign.tasks.nlvr2.network import build_image_pairs
from cbalign.tasks.vqa.network import build_answering
from tests.towers.texts import TEXTS, make_bert, make_text

SIDE = 16
VISION = {
    "kind": "timm", "architecture": "vit_tiny_patch16_224", "image_size": SIDE, "patch_size": 8, "layers": 1,
    "width": 24, "heads": 2, "init": "random",
}  # fmt: skip
BERT = {
    "kind": "bert", "architecture": "bert-mini", "layers": 1, "width": 16, "heads": 2, "intermediate": 16,
    "init": "random", "tokenizer": "captions",
}  # fmt: skip


def experiment(text: dict[str, Any], fusion: dict[str, Any], **objectives: Any) -> Experiment:
    values = {
        "cbalign": 1,
        "name": "widths",
        "model": {"vision": VISION, "text": text, "fusion": fusion, "joint_dim": 8, "codebook": {"size": 5}},
        "objectives": objectives,
        "data": {"train": {"source": "csv", "files": ["pairs.csv"]}},
    }
    return Experiment.model_validate_json(json.dumps(values))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    root = tmp_path_factory.mktemp("fused-texts")
    return {name: make_text(name, root / name) for name in ("roberta", "clip", "t5", "siglip")}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of width 48 with three layers."""
    return make_bert(tmp_path_factory.mktemp("bert"))


def batch(tokenizer: Tokenizer) -> Batch:
    tokens = tokenizer.encode(TEXTS)
    return Batch(
        images=torch.randint(256, (len(TEXTS), 3, SIDE, SIDE), dtype=torch.uint8),
        teacher_images=None,
        input_ids=torch.from_numpy(tokens.input_ids),
        attention_mask=torch.from_numpy(tokens.attention_mask),
        image_ids=torch.arange(len(TEXTS)),
        indices=torch.arange(len(TEXTS)),
    )


def tokenizer_of(text: dict[str, Any]) -> Tokenizer:
    return read_published(text["architecture"], "model.text.architecture", TextSettings(16, 10**6))


@pytest.mark.parametrize("own", [True, False], ids=["the text tower's width", "a BERT's width"])
@pytest.mark.parametrize("name", ["roberta", "t5"])
def test_text_tokens_of_any_width_meet_image_tokens_of_any_width(texts, bert, name, own):
    text = texts[name]
    fusion = {"layers": 2} if own else {"layers": 2, "architecture": str(bert)}
    spec = experiment(text, fusion, masked_language={"weight": 0})
    parts = build_backbone(spec.model, tokenizer_of(text).vocabulary_size, initialise=True)
    given = batch(tokenizer_of(text))
    fused = parts.fused(
        parts.text(given.input_ids, given.attention_mask),
        given.attention_mask,
        parts.fused.read_images(parts.vision(given.images)),
    )
    assert fused.shape == (*given.input_ids.shape, 32 if own else 48)
    assert sorted(parts.fused.state_dict())[-1].startswith("layers" if own else "text_map")


def test_fusion_layers_are_the_last_of_the_bert_that_the_spec_names(texts, bert):
    text = texts["clip"]
    vocabulary = tokenizer_of(text).vocabulary_size
    spec = experiment(text, {"layers": 2, "architecture": str(bert)}, masked_language={"weight": 0})
    weights = load_file(bert / "model.safetensors")
    fused = build_backbone(spec.model, vocabulary, initialise=True).fused
    for layer, theirs in zip(fused.layers, (1, 2), strict=True):
        expected = weights[f"bert.encoder.layer.{theirs}.attention.self.query.weight"]
        assert torch.equal(layer.attention.query.weight, expected)
    spec = experiment(text, {"layers": 2, "architecture": str(bert), "init": "random"}, masked_language={"weight": 0})
    fused = build_backbone(spec.model, vocabulary, initialise=True).fused
    assert fused.width == 48
    assert not torch.equal(fused.layers[1].attention.query.weight, expected)


def test_a_bert_tower_may_have_fusion_layers_at_random(bert):
    text = {"kind": "bert", "architecture": str(bert), "layers": 1, "max_tokens": 9}
    made = {}
    for init in ("pretrained", "random"):
        torch.manual_seed(0)
        spec = experiment(text, {"layers": 2, "init": init})
        made[init] = build_backbone(spec.model, 150, initialise=True).fused.layers[1].attention.query.weight
    expected = load_file(bert / "model.safetensors")["bert.encoder.layer.2.attention.self.query.weight"]
    assert torch.equal(made["pretrained"], expected)
    assert not torch.equal(made["random"], expected)


def test_more_fusion_layers_than_the_bert_has(texts, bert):
    spec = experiment(texts["clip"], {"layers": 4, "architecture": str(bert)}, masked_language={"weight": 0})
    with pytest.raises(SpecError, match=r"model\.fusion\.layers: 4 layers, but .* has 3"):
        build_backbone(spec.model, tokenizer_of(texts["clip"]).vocabulary_size, initialise=True)


def test_published_weights_are_read_once(bert, monkeypatch):
    read = []
    real = pretrained.read_weights
    monkeypatch.setattr(pretrained, "read_weights", lambda path: read.append(path) or real(path))
    spec = experiment({"kind": "bert", "architecture": str(bert), "layers": 1, "max_tokens": 9}, {"layers": 2})
    words = VocabularyInfo(150, cls_id=2, mask_id=4)
    build_alignment(spec.model, spec.objectives.active(), words, legacy=spec.legacy, initialise=True)
    assert len(read) == 1, "for the tower, the fusion layers and the masked-language head"


@pytest.mark.parametrize("fused", [None, "bert"], ids=["one width", "two widths"])
@pytest.mark.parametrize("text", [BERT, "roberta"], ids=["bert", "roberta"])
@pytest.mark.parametrize("build", [build_entailment, build_image_pairs, build_answering])
def test_fine_tuned_models_take_any_widths(texts, bert, build, text, fused):
    section = texts[text] if isinstance(text, str) else text
    fusion = {"layers": 1} | ({"architecture": str(bert)} if fused else {})
    spec = experiment(section, fusion)
    vocabulary = tokenizer_of(section).vocabulary_size if isinstance(text, str) else 60
    network = build(spec.model, vocabulary, initialise=True).student.eval()
    ids, images = torch.randint(5, 50, (2, 7)), torch.randint(256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    mask = torch.ones_like(ids)
    if build is build_answering:
        logits = network(images, ids, mask, ids[:, :4], mask[:, :4], torch.arange(2))
        assert logits.shape == (2, 3, network.text.vocabulary)
    elif build is build_image_pairs:
        assert network(images, images, ids, mask).shape == (2, 2)
    else:
        assert network(images, ids, mask).shape == (2, 3)


@pytest.mark.parametrize("fused", [None, "bert"], ids=["one width", "two widths"])
def test_masked_words_are_predicted_over_the_text_towers_own_words(texts, bert, fused):
    text = texts["roberta"]
    tokenizer = tokenizer_of(text)
    fusion = {"layers": 1} | ({"architecture": str(bert)} if fused else {})
    spec = experiment(text, fusion)
    active = spec.objectives.active()
    model = build_alignment(spec.model, active, tokenizer.info, legacy=spec.legacy, initialise=True)
    term, given = model.terms["masked_language"], batch(tokenizer)
    term.probability = 0.9999
    torch.manual_seed(0)
    masked = term.mask(given)
    special = torch.isin(given.input_ids, torch.tensor(tokenizer.info.special_ids))
    assert torch.equal(masked.chosen, ~special & (given.attention_mask == 1)), "every word, and nothing else"
    assert (masked.input_ids == tokenizer.mask_id).sum() > 0.6 * masked.chosen.sum()
    head, words = model.capability("masked_language"), model.student.word_embeddings
    assert head is not None
    assert head(torch.randn(3, model.student.fusion.width), words).shape == (3, len(words))


@pytest.mark.parametrize("name", ["clip", "t5", "siglip"])
def test_a_tokenizer_without_mask_token_is_found_before_anything_is_computed(texts, name, tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text(
        "cbalign: 1\nname: a\ndata: {train: {source: openmoji, split: train}}\n"
        f"model: {{text: {json.dumps(texts[name])}}}\n"
    )
    with pytest.raises(InvalidSpec) as caught:
        load_experiment(file)
    assert "objectives.masked_language masks words, but the tokenizer of model.text has no mask token" in str(
        caught.value
    )
    assert "objectives.masked_language.weight: 0" in str(caught.value)
    assert load_experiment(file, ["objectives.masked_language.weight=0"])


def test_a_tokenizer_that_turns_out_to_have_no_mask_token(texts):
    spec = experiment(texts["roberta"], {"layers": 1})
    words = VocabularyInfo(tokenizer_of(texts["roberta"]).vocabulary_size, cls_id=0, mask_id=None)
    with pytest.raises(SpecError, match="no mask token") as caught:
        build_alignment(spec.model, spec.objectives.active(), words, legacy=spec.legacy, initialise=False)
    assert "objectives.masked_language.weight: 0" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("width", "heads"), [(768, 12), (384, 6), (64, 1), (312, 6), (48, 1), (100, 2), (1152, 18), (17, 1)]
)
def test_heads_divide_the_width_and_are_about_as_wide_as_berts(width, heads):
    assert heads_for(width) == heads
