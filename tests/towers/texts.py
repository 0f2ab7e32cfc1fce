"""Small text models with random weights and tokenizers in the hub's layout, one for each family of text towers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

from cbalign.data.wordpiece import SPECIAL_TOKENS, train_wordpiece

Spec = dict[str, Any]

POSITIONS = 24
TEXTS = [
    "A red apple on a table",
    "Two cats sleep",
    "An old man's blue car, parked - near a house!",
    "the quick brown fox jumps over the lazy dog and then sleeps for the whole of a long summer afternoon",
    "Café at night",
    "a",
]
"""Texts with capitals, punctuation, an accent, very few and very many words."""

_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_VIT = {**_SIZES, "image_size": 32, "patch_size": 8}


def _wordpiece() -> dict[str, int]:
    return train_wordpiece(TEXTS * 3, 150).get_vocab()


def _byte_pairs(special: list[str], suffix: str = "") -> tuple[dict[str, int], list[tuple[str, str]]]:
    learner = tokenizers.Tokenizer(models.BPE(end_of_word_suffix=suffix))
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    texts = [text.lower() for text in TEXTS] + TEXTS
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        end_of_word_suffix=suffix,
        show_progress=False,
    )
    learner.train_from_iterator([each for each in texts for _ in range(3)], trainer)
    model = json.loads(learner.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def _pieces(first: list[str]) -> list[tuple[str, float]]:
    """A unigram vocabulary as sentencepiece makes it: words, their beginnings, and all characters."""
    text = " ".join([*TEXTS, *(text.lower() for text in TEXTS)])
    words = sorted({f"▁{word}" for word in text.split()} - {"▁a"})
    characters = sorted({*text, "▁"} - {" "})
    scored = [(word, -3.0 - 0.01 * i) for i, word in enumerate(words)]
    return [*((token, 0.0) for token in first), *scored, *((c, -9.0 - 0.01 * i) for i, c in enumerate(characters))]


def _roberta_tokenizer() -> Any:
    vocabulary, merges = _byte_pairs(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=merges)


def _mpnet_tokenizer() -> Any:
    words = [word for word in _wordpiece() if word not in SPECIAL_TOKENS]
    special = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"]
    return transformers.MPNetTokenizer(vocab={word: i for i, word in enumerate([*special, *words])})


def _modernbert_tokenizer() -> Any:
    vocabulary, merges = _byte_pairs(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    own = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="[UNK]"))
    own.normalizer = normalizers.NFC()
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=own, **names)


def _clip_tokenizer() -> Any:
    vocabulary, merges = _byte_pairs(["<|startoftext|>", "<|endoftext|>"], "</w>")
    ordered = sorted(vocabulary, key=lambda token: (token.startswith("<|"), vocabulary[token]))  # as CLIP's
    return transformers.CLIPTokenizer(vocab={token: i for i, token in enumerate(ordered)}, merges=merges)


def _siglip2_tokenizer() -> Any:
    characters = sorted({*" ".join(TEXTS).lower(), "▁"} - {" "})
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens = [*special, *characters, "▁a", "re", "ca"]
    made = transformers.Siglip2Tokenizer(
        vocab={token: i for i, token in enumerate(tokens)}, merges=[("▁", "a"), ("r", "e"), ("c", "a")],
        add_eos_token=True, add_bos_token=False, padding_side="right",
    )  # fmt: skip
    end = made.convert_tokens_to_ids("<eos>")
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", end)]
    )
    return made


class SigLIPFiles:
    """SigLIP's first tokenizer, which transformers reads with sentencepiece: as files only."""

    pad_token_id = eos_token_id = 1

    def __init__(self) -> None:
        pieces = _pieces(["<unk>", "</s>"])
        self.own = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
        self.own.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        self.own.decoder = decoders.Metaspace()
        self.own.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        self.own.add_special_tokens(["</s>", "<unk>"])

    def __len__(self) -> int:
        return self.own.get_vocab_size()

    def save_pretrained(self, folder: Path) -> None:
        self.own.save(str(folder / "tokenizer.json"))
        names = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
        config = {"tokenizer_class": "SiglipTokenizer", "model_max_length": 64, "do_lower_case": True, **names}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertTokenizer(vocab=_wordpiece()),
    "distilbert": lambda: transformers.BertTokenizer(vocab=_wordpiece(), do_lower_case=False),
    "roberta": _roberta_tokenizer,
    "mpnet": _mpnet_tokenizer,
    "xlm-roberta": lambda: transformers.XLMRobertaTokenizer(
        vocab=[*_pieces(["<s>", "<pad>", "</s>", "<unk>"]), ("<mask>", 0.0)]
    ),
    "modernbert": _modernbert_tokenizer,
    "clip": _clip_tokenizer,
    "clip-text": _clip_tokenizer,
    "siglip": SigLIPFiles,
    "siglip2": _siglip2_tokenizer,
    "siglip2-naflex": _siglip2_tokenizer,
    "t5": lambda: transformers.T5Tokenizer(vocab=_pieces(["<pad>", "</s>", "<unk>"]), extra_ids=3),
}
TEXT_TOWERS = tuple(TOKENIZERS)


def _model(name: str, tokenizer: Any) -> Any:
    t = transformers
    words = len(tokenizer)
    common = {**_SIZES, "vocab_size": words, "max_position_embeddings": POSITIONS}
    shifted = common | {"max_position_embeddings": POSITIONS + 2, "pad_token_id": 1}
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None, "pad_token_id": tokenizer.pad_token_id}
    match name:
        case "bert":
            return t.BertForMaskedLM(t.BertConfig(**common))
        case "distilbert":
            sizes = {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}
            return t.DistilBertModel(t.DistilBertConfig(**sizes, vocab_size=words, max_position_embeddings=POSITIONS))
        case "roberta":
            return t.RobertaModel(t.RobertaConfig(**shifted))
        case "mpnet":
            return t.MPNetModel(t.MPNetConfig(**shifted))
        case "xlm-roberta":
            return t.XLMRobertaForMaskedLM(t.XLMRobertaConfig(**shifted))
        case "modernbert":
            ids = {f"{each}_token_id": getattr(tokenizer, f"{each}_token_id") for each in ("pad", "cls", "sep")}
            local = {"local_attention": 8, "global_attn_every_n_layers": 2}
            return t.ModernBertForMaskedLM(
                t.ModernBertConfig(**common, **ids, **local, bos_token_id=None, eos_token_id=None)
            )
        case "clip":
            return t.CLIPModel(t.CLIPConfig(text_config=common | ends, vision_config=_VIT, projection_dim=16))
        case "clip-text":
            return t.CLIPTextModel(t.CLIPTextConfig(**common, **ends))
        case "siglip" | "siglip2":
            return t.SiglipModel(
                t.SiglipConfig(text_config=common | ends | {"projection_size": 40}, vision_config=_VIT)
            )
        case "siglip2-naflex":
            vision = {**_SIZES, "patch_size": 8, "num_patches": 16}
            return t.Siglip2Model(t.Siglip2Config(text_config=common | ends, vision_config=vision))
        case "t5":
            sizes = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4}
            return t.T5Model(t.T5Config(**sizes, vocab_size=words, decoder_start_token_id=0))
    raise ValueError(name)


@torch.no_grad()
def _spread(model: nn.Module) -> None:
    """Move every parameter from its initial value, so that one that is left out is noticed."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def make_text(name: str, folder: Path) -> Spec:
    """Write a model with its tokenizer, and return a `model.text` that starts from it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = TOKENIZERS[name]()
    torch.manual_seed(0)
    model = _model(name, tokenizer)
    _spread(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"kind": "huggingface", "architecture": str(folder), "max_tokens": 16}


def make_bert(folder: Path) -> Path:
    """Write a BERT of width 48 with three layers, and its WordPiece tokenizer."""
    words = _wordpiece()
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    model = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=len(words), **sizes))
    _spread(model)
    model.save_pretrained(folder)
    transformers.BertTokenizer(vocab=words).save_pretrained(folder)
    return folder
