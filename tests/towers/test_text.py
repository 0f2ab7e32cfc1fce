"""Text towers of transformers: the same tokens, vectors and token ids as transformers computes, in every family."""

from __future__ import annotations

import json
import re
import shutil
import string
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from cbalign.data.published_tokenizer import read_published
from cbalign.data.text import TextSettings, Tokenizer
from cbalign.errors import CheckpointError, DataError, SpecError, UsageError
from cbalign.exporting.graph import write_graph
from cbalign.models.graphs import TextGraph
from cbalign.models.huggingface_text import HuggingFaceTextTower
from cbalign.models.sections.huggingface_text import HuggingFaceTextSection
from cbalign.models.towers import Towers
from cbalign.runtime.signatures import Port, Signature
from cbalign.runtime.texts import check_text
from tests.towers.texts import POSITIONS, TEXT_TOWERS, TEXTS, make_text

PLACE = "model.text.architecture"
PADDED = ("siglip", "siglip2", "siglip2-naflex")
SENTENCEPIECE = "siglip"  # transformers reads its tokenizer with a package that is not installed


_BATCH = ("batch", "length")
SIGNATURE = Signature(
    (Port("input_ids", "int64", _BATCH), Port("attention_mask", "int64", _BATCH)),
    (Port("tokens", "float32", (*_BATCH, None)), Port("embedding", "float32", ("batch", None))),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("text-towers")
    return {name: Path(make_text(name, root / name)["architecture"]) for name in TEXT_TOWERS}


@pytest.fixture(params=TEXT_TOWERS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(family: str, folders: dict[str, Path]) -> Path:
    return folders[family]


def read(folder: Path, max_tokens: int = 16) -> Tokenizer:
    return read_published(str(folder), PLACE, TextSettings(max_tokens, 10**6))


def build(folder: Path, initialise: bool = True, vocabulary: int | None = None, **settings: Any) -> Any:
    settings = {"max_tokens": 16, **settings}
    section = HuggingFaceTextSection(kind="huggingface", architecture=str(folder), **settings)
    size = read(folder).vocabulary_size if vocabulary is None else vocabulary
    return HuggingFaceTextTower.from_section(section, size, initialise).eval()


def encoded(folder: Path, texts: list[str] = TEXTS, max_tokens: int = 16) -> tuple[Tensor, Tensor]:
    tokens = read(folder, max_tokens).encode(texts)
    return torch.from_numpy(tokens.input_ids), torch.from_numpy(tokens.attention_mask)


def theirs(folder: Path) -> Any:
    """The text model as transformers loads it."""
    config = transformers.AutoConfig.from_pretrained(folder)
    if hasattr(config, "text_config"):
        name = type(config).__name__.removesuffix("Config") + "TextModel"
        return getattr(transformers, name).from_pretrained(folder).eval()
    auto = transformers.AutoModelForTextEncoding if config.is_encoder_decoder else transformers.AutoModel
    return auto.from_pretrained(folder).eval()


def canonical(text: str) -> str:
    """SigLIP's canonicalisation (big_vision)."""
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\s+", " ", bare).strip()


def reference_ids(family: str, folder: Path, max_tokens: int) -> dict[str, np.ndarray]:
    """Token ids and mask as transformers' tokenizer and processor give them."""
    padding = {"padding": "max_length", "max_length": POSITIONS} if family in PADDED else {"padding": True}
    texts = TEXTS
    if family == SENTENCEPIECE:
        own = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), pad_token="</s>", eos_token="</s>", unk_token="<unk>"
        )
        texts = [canonical(text) for text in texts]
    else:
        own = transformers.AutoTokenizer.from_pretrained(folder)
    length = {"max_length": max_tokens} | padding
    return own(texts, truncation=True, return_tensors="np", **length)


@pytest.mark.parametrize("max_tokens", [6, POSITIONS])
def test_token_ids_are_those_of_transformers(family: str, folder: Path, max_tokens: int) -> None:
    if family in PADDED and max_tokens < POSITIONS:
        max_tokens = POSITIONS
    expected = reference_ids(family, folder, max_tokens)
    found = read(folder, max_tokens).encode(TEXTS)
    assert found.input_ids.tolist() == expected["input_ids"].tolist()
    if family in PADDED:
        assert found.attention_mask.all(), "SigLIP reads padding"
    else:
        assert found.attention_mask.tolist() == expected["attention_mask"].tolist()


def test_a_saved_tokenizer_gives_the_same_ids_without_transformers(folder: Path, tmp_path: Path) -> None:
    tokenizer = read(folder)
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.settings == tokenizer.settings
    assert loaded.info == tokenizer.info
    for ours, saved in zip(encoded(folder), loaded.encode(TEXTS).__dict__.values(), strict=True):
        assert (ours.numpy() == saved).all()
    shorter = Tokenizer.from_folder(tmp_path, TextSettings(5))
    assert shorter.encode(TEXTS).input_ids.tolist() == tokenizer.encode(TEXTS, max_tokens=5).input_ids.tolist()


def test_truncation_keeps_the_last_special_token(family: str, folder: Path) -> None:
    tokenizer = read(folder, 6)
    end = tokenizer.form.tokens.end
    for ids, mask in zip(*encoded(folder, max_tokens=6), strict=True):
        row = ids[mask.bool()].tolist()
        assert end in row
        if family not in PADDED:
            assert row[-1] == end
            assert len(row) <= 6


def test_special_tokens_are_never_masked(folder: Path) -> None:
    tokenizer = read(folder)
    special = set(tokenizer.info.special_ids)
    assert tokenizer.form.tokens.end in special
    assert tokenizer.mask_id is None or tokenizer.mask_id in special
    words = set(tokenizer.word_ids("cats sleep"))
    assert words
    assert not words & (special - {tokenizer.unk_id})


@torch.no_grad()
def test_tokens_are_those_of_transformers(folder: Path) -> None:
    ids, mask = encoded(folder)
    expected = theirs(folder)(input_ids=ids, attention_mask=mask).last_hidden_state
    found = build(folder)(ids, mask)
    assert torch.allclose(found[mask.bool()], expected[mask.bool()], atol=1e-5)


@torch.no_grad()
def test_the_pooled_vector_of_the_trunk_is_that_of_transformers(family: str, folder: Path) -> None:
    ids, mask = encoded(folder)
    if family in ("distilbert", "modernbert", "t5"):
        with pytest.raises(SpecError, match=r"model\.text\.pooling: .* no pooled vector"):
            build(folder, pooling="trunk")
        return
    model = theirs(folder)
    if family in ("bert", "xlm-roberta"):  # published for masked words, without a pooler
        with pytest.raises(CheckpointError, match="missing"):
            build(folder, pooling="trunk")
        return
    tower = build(folder, pooling="trunk")
    found = tower.pool(tower(ids, mask), mask)
    expected = model(input_ids=ids, attention_mask=mask).pooler_output
    assert found.shape == (len(TEXTS), tower.pooled_width) == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)


@torch.no_grad()
def test_other_poolings_are_what_they_say(family: str, folder: Path) -> None:
    ids, mask = encoded(folder)
    rows = [(row, last) for row, last in enumerate(mask.sum(dim=1).tolist())]
    for pooling, expected in {
        "mean": lambda t: torch.stack([t[row, :last].mean(dim=0) for row, last in rows]),
        "end": lambda t: torch.stack([t[row, last - 1] for row, last in rows]),
        "first": lambda t: t[:, 0],
    }.items():
        if pooling == "first" and family.startswith("clip"):
            with pytest.raises(SpecError, match="reads nothing of the text"):
                build(folder, pooling=pooling)
            continue
        tower = build(folder, pooling=pooling)
        tokens = tower(ids, mask)
        assert torch.allclose(tower.pool(tokens, mask), expected(tokens), atol=1e-6), pooling


def test_the_default_pooling_is_the_models_own_where_it_has_one(family: str, folder: Path) -> None:
    own = family.startswith(("clip", "siglip"))
    assert build(folder, initialise=False).pooling == ("trunk" if own else "mean")


@torch.no_grad()
def test_padding_does_not_change_a_text(folder: Path) -> None:
    tower = build(folder)
    together, mask = encoded(folder)
    alone, own_mask = encoded(folder, TEXTS[1:2])
    vectors = tower.pool(tower(together, mask), mask)
    assert torch.allclose(tower.pool(tower(alone, own_mask), own_mask)[0], vectors[1], atol=1e-5)


@torch.no_grad()
def test_the_first_layers_are_those_of_the_model(folder: Path) -> None:
    ids, mask = encoded(folder)
    shorter = build(folder, layers=1)
    assert len(list(shorter.blocks)) == 1
    assert shorter(ids, mask).shape == build(folder)(ids, mask).shape


def test_dropout_is_set_everywhere_and_handed_to_the_fusion_layers(folder: Path) -> None:
    tower = build(folder, initialise=False, dropout=0.3)
    assert tower.dropout == 0.3
    ids, mask = encoded(folder)
    tower.train()
    assert not torch.equal(tower(ids, mask), tower(ids, mask))
    calm = build(folder, initialise=False, dropout=0.0).train()
    assert torch.equal(calm(ids, mask), calm(ids, mask))


class Images(nn.Module):
    """As much of an image tower as `Towers` asks for."""

    width = pooled_width = 8


@pytest.mark.slow
def test_the_exported_graph_computes_the_same(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = build(folder)
    graph = TextGraph(Towers(Images(), tower, None, 8)).eval()
    write_graph(graph, SIGNATURE, encoded(folder), tmp_path / "text.onnx", opset=23, metadata={})
    session = onnxruntime.InferenceSession(tmp_path / "text.onnx", providers=["CPUExecutionProvider"])
    for texts in (TEXTS[:1], TEXTS[1:2] * 3, TEXTS):
        ids, mask = encoded(folder, texts)
        with torch.no_grad():
            expected = graph(ids, mask)
        feed = dict(zip((each.name for each in session.get_inputs()), (ids.numpy(), mask.numpy()), strict=True))
        for ours, exported in zip(expected, session.run(None, feed), strict=True):
            real = mask.bool() if ours.ndim == 3 else slice(None)
            assert np.abs(ours.numpy() - exported)[real].max() < 1e-4


class TestTexts:
    """What the runtime says about texts of users."""

    def test_a_text_that_fits_is_read_whole(self, folder: Path) -> None:
        assert check_text("a", read(folder)) is None

    def test_a_long_text_is_cut_and_its_beginning_is_shown(self, family: str, folder: Path) -> None:
        note = check_text(TEXTS[3] * 3, read(folder, POSITIONS))
        assert note is not None
        start = re.sub(r"\s", "", note.partition(": ")[2])
        assert start.startswith(("'the", "'t")) or family == "distilbert", note

    @pytest.mark.parametrize("text", ["", "  ", "!?", "\u200b"])
    def test_a_text_without_words_is_refused(self, folder: Path, text: str) -> None:
        with pytest.raises(UsageError, match="has no words"):
            check_text(text, read(folder))


class TestBadInput:
    """Each mistake gives one message with its place, before anything is computed."""

    def test_a_tokenizer_of_another_model(self, folders: dict[str, Path], tmp_path: Path) -> None:
        mixed = shutil.copytree(folders["bert"], tmp_path / "mixed")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(folders["roberta"] / file, mixed / file)
        with pytest.raises(SpecError, match=r"model\.text\.architecture: the tokenizer .* has 373 tokens, .* of 150"):
            build(mixed)

    def test_a_tokenizer_of_a_much_smaller_vocabulary(self, folder: Path) -> None:
        rows = read(folder).vocabulary_size
        config = json.loads((folder / "config.json").read_text())
        with pytest.raises(SpecError, match="tokens, its model embeddings of"):
            build(folder, vocabulary=rows - 2000 if rows > 2000 else -1024)
        assert config

    def test_weights_of_another_architecture(self, folders: dict[str, Path], tmp_path: Path) -> None:
        mixed = shutil.copytree(folders["bert"], tmp_path / "mixed")
        shutil.copy(folders["t5"] / "model.safetensors", mixed / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"does not fit model\.text"):
            build(mixed)

    def test_weights_of_other_sizes(self, folders: dict[str, Path], tmp_path: Path) -> None:
        mixed = shutil.copytree(folders["bert"], tmp_path / "mixed")
        config = json.loads((mixed / "config.json").read_text())
        (mixed / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
        with pytest.raises(CheckpointError, match="other shape"):
            build(mixed)

    def test_no_weights(self, folders: dict[str, Path], tmp_path: Path) -> None:
        bare = shutil.copytree(folders["bert"], tmp_path / "bare")
        (bare / "model.safetensors").unlink()
        with pytest.raises(CheckpointError, match=r"model\.text\.architecture: .* contains no weights"):
            build(bare)
        assert build(bare, init="random").width == 32

    def test_more_layers_than_the_model_has(self, folder: Path) -> None:
        with pytest.raises(SpecError, match=r"model\.text\.layers: 3 layers, but .* has 2"):
            build(folder, layers=3)

    def test_longer_texts_than_the_model_has_positions(self, family: str, folder: Path) -> None:
        if family in ("t5", "modernbert"):  # relative positions
            return
        with pytest.raises(SpecError, match=r"model\.text\.max_tokens: 25, but .* has 24 positions"):
            build(folder, max_tokens=25)

    def test_an_image_model(self, tmp_path: Path) -> None:
        transformers.ViTConfig().save_pretrained(tmp_path)
        with pytest.raises(SpecError, match="a vit, which reads no texts"):
            build(tmp_path, vocabulary=99)

    def test_no_configuration(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"model\.text\.architecture: .* has no config\.json"):
            build(tmp_path, vocabulary=99)

    def test_no_tokenizer(self, folders: dict[str, Path], tmp_path: Path) -> None:
        bare = shutil.copytree(folders["siglip"], tmp_path / "bare")
        (bare / "tokenizer.json").unlink()
        with pytest.raises(DataError, match=r"model\.text\.architecture: .* has no tokenizer"):
            read(bare)


def test_weights_in_several_files_are_read(folders: dict[str, Path], tmp_path: Path) -> None:
    model = transformers.RobertaModel.from_pretrained(folders["roberta"])
    split = shutil.copytree(folders["roberta"], tmp_path / "split")
    (split / "model.safetensors").unlink()
    model.save_pretrained(split, max_shard_size="20KB")
    assert (split / "model.safetensors.index.json").is_file()
    for one, other in zip(build(split).parameters(), build(folders["roberta"]).parameters(), strict=True):
        assert torch.equal(one, other)


def test_pickled_weights_are_read_without_running_code(folders: dict[str, Path], tmp_path: Path) -> None:
    old = shutil.copytree(folders["roberta"], tmp_path / "old")
    torch.save(load_file(old / "model.safetensors"), old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    assert torch.equal(build(old).word_embeddings, build(folders["roberta"]).word_embeddings)
    torch.save({"weights": Path()}, old / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="objects other than tensors"):
        build(old)
