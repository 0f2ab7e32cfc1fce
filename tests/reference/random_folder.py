"""A folder in the form of albef-tiny at random sizes; its outputs have the right shapes and no meaning."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

UNSCORED = -100.0
CLS, SEP, MASK, PAD = 1, 2, 3, 0
BERT_PARTS = (
    ("attention.self.query", "wt", "wt"),
    ("attention.self.key", "wt", "wt"),
    ("attention.self.value", "wt", "wt"),
    ("attention.output.dense", "wt", "wt"),
    ("attention.output.LayerNorm", "wt", ""),
    ("intermediate.dense", "inner", "wt"),
    ("output.dense", "wt", "inner"),
    ("output.LayerNorm", "wt", ""),
)
CROSS_PARTS = (
    ("crossattention.self.query", "wt", "wt"),
    ("crossattention.self.key", "wt", "source"),
    ("crossattention.self.value", "wt", "source"),
    ("crossattention.output.dense", "wt", "wt"),
    ("crossattention.output.LayerNorm", "wt", ""),
)


@dataclass(frozen=True)
class Sizes:
    width: int
    vision_layers: int
    vision_heads: int
    text_heads: int
    inner: int
    text_layers: int
    fusion_layers: int
    vocabulary: int
    positions: int
    embed: int
    grid: int
    patch: int
    queue: int
    batch: int
    length: int
    answers: int
    answer_length: int
    images: int

    @classmethod
    def draw(cls, seed: int) -> Sizes:
        dice = random.Random(seed)
        batch = dice.choice([2, 3, 6])
        return cls(
            width=dice.choice([16, 24, 48]),
            vision_layers=dice.choice([1, 3]),
            vision_heads=dice.choice([1, 2, 8]),
            text_heads=dice.choice([1, 2, 8]),
            inner=dice.choice([20, 40]),
            text_layers=dice.choice([1, 2, 4]),
            fusion_layers=dice.choice([1, 3]),
            vocabulary=dice.choice([40, 101]),
            positions=dice.choice([16, 40]),
            embed=dice.choice([4, 24]),
            grid=dice.choice([2, 3, 5]),
            patch=dice.choice([8, 16]),
            queue=batch * dice.choice([1, 5]),
            batch=batch,
            length=dice.choice([4, 12]),
            answers=dice.choice([5, 11]),
            answer_length=dice.choice([4, 6]),
            images=dice.choice([4, 9]),
        )


def write_random_folder(folder: Path, seed: int) -> None:
    """Write all files of the form."""
    torch.manual_seed(seed)
    s = Sizes.draw(seed)
    config = {"sizes": {"vh": s.vision_heads}, "momentum": 0.99, "tokens": {}}
    bert = {
        "model_type": "bert",
        "vocab_size": s.vocabulary,
        "hidden_size": s.width,
        "num_hidden_layers": s.text_layers + s.fusion_layers,
        "num_attention_heads": s.text_heads,
        "intermediate_size": s.inner,
        "max_position_embeddings": s.positions,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "fusion_layer": s.text_layers,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "bert_config.json").write_text(json.dumps(bert))
    towers = _vision(s) | _bert(s, "text_encoder.", s.text_layers, s.fusion_layers)
    pretrain = {n.replace("text_encoder.", "text_encoder.bert."): t for n, t in towers.items()}
    pretrain |= _linear("vision_proj", s.embed, s.width) | _linear("text_proj", s.embed, s.width)
    pretrain |= _language_head(s, "text_encoder.")
    pretrain = _with_teacher(pretrain) | _linear("itm_head", 2, s.width)
    pretrain |= {"temp": torch.tensor(0.1), "queue_ptr": torch.zeros(1, dtype=torch.int64)}
    pretrain |= {f"{m}_queue": torch.randn(s.embed, s.queue) for m in ("image", "text")}
    decoder = _bert(s, "text_decoder.bert.", 0, 2) | _language_head(s, "text_decoder.")
    doubled = _vision(s) | _bert(s, "text_encoder.", s.text_layers, 2 * s.fusion_layers)
    save_file(pretrain, folder / "pretrain.safetensors")
    save_file(_with_teacher(towers | decoder), folder / "vqa.safetensors")
    save_file(_with_teacher(doubled | _head(s, 2)), folder / "nlvr.safetensors")
    save_file(_with_teacher(towers | _head(s, 3)), folder / "ve.safetensors")
    save_file({n: t.contiguous() for n, t in _recorded(s).items()}, folder / "expected.safetensors")
    (folder / "retrieval_metrics.json").write_text(json.dumps(_figures(s)))


def _recorded(s: Sizes) -> dict[str, Tensor]:
    side, tokens, texts = s.grid * s.patch, s.grid**2 + 1, 2 * s.images
    recorded = {
        "pretrain.image": torch.randn(s.batch, 3, side, side),
        "pretrain.input_ids": _ids(s, s.batch, s.length),
        "pretrain.attention_mask": torch.ones(s.batch, s.length, dtype=torch.int64),
        "pretrain.image_tokens": torch.randn(s.batch, tokens, s.width),
        "pretrain.image_feat": torch.randn(s.batch, s.embed),
        "pretrain.text_tokens": torch.randn(s.batch, s.length, s.width),
        "pretrain.text_feat": torch.randn(s.batch, s.embed),
        "pretrain.fusion_tokens": torch.randn(s.batch, s.length, s.width),
        "pretrain.itm_logits": torch.randn(s.batch, 2),
        "rerank.images": torch.randn(s.images, 3, side, side),
        "rerank.input_ids": _ids(s, texts, s.length),
        "rerank.attention_mask": torch.ones(texts, s.length, dtype=torch.int64),
        "rerank.k": torch.tensor(texts),  # all pairs are scored, so which ones does not depend on the weights
        "rerank.dual_scores": torch.randn(s.images, texts),
        "rerank.itm_i2t": torch.randn(s.images, texts),
        "rerank.itm_t2i": torch.randn(texts, s.images),
        "retrieval.image_index": torch.randint(3, (s.batch,)),
        "retrieval.index_queue_before": torch.randint(3, (1, s.queue)),
        "retrieval.loss_ita": torch.randn(()),
        "retrieval.loss_itm": torch.randn(()),
        "vqa.answer_input_ids": _ids(s, s.answers, s.answer_length),
        "vqa.answer_attention_mask": torch.ones(s.answers, s.answer_length, dtype=torch.int64),
        "vqa.train_answer": torch.randint(s.answers, (2 * s.batch - 1,)),
        "vqa.train_count": torch.tensor([2] * (s.batch - 1) + [1]),
        "vqa.train_weight": torch.rand(2 * s.batch - 1),
        "vqa.loss": torch.randn(()),
        # All answers are candidates, so which ones are does not depend on the weights.
        "vqa.topk_ids": torch.stack([torch.randperm(s.answers) for _ in range(s.batch)]),
        "vqa.topk_probs": torch.rand(s.batch, s.answers).sort(dim=1, descending=True).values,
        "nlvr.image_pairs": torch.randn(s.batch, 2, 3, side, side),
        "nlvr.targets": torch.randint(2, (s.batch,)),
        "nlvr.logits": torch.randn(s.batch, 2),
        "nlvr.loss": torch.randn(()),
        "ve.targets": torch.randint(3, (s.batch,)),
        "ve.logits": torch.randn(s.batch, 3),
        "ve.loss": torch.randn(()),
        "interpolate.pos_embed_in": torch.randn(1, 10, s.width),
        "interpolate.pos_embed_out": torch.randn(1, 26, s.width),
    }
    for prefix in ("pretrain.alpha0.0.", "pretrain.alpha0.7."):
        labels = torch.full((s.batch, s.length), -100)
        labels[0, 2] = 5
        recorded |= {
            f"{prefix}masked_input_ids": _ids(s, s.batch, s.length),
            f"{prefix}mlm_labels": labels,
            **{f"{prefix}loss_{name}": torch.randn(()) for name in ("ita", "itm", "mlm")},
            f"{prefix}grad.text_proj.bias": torch.randn(s.embed),
            f"{prefix}grad.text_encoder.bert.encoder.layer.0.output.dense.weight": torch.randn(s.width, s.inner),
            f"{prefix}after.vision_proj_m.weight": torch.randn(s.embed, s.width),
            f"{prefix}after.image_queue": torch.randn(s.embed, s.queue),
            f"{prefix}after.text_queue": torch.randn(s.embed, s.queue),
            f"{prefix}after.queue_ptr": torch.ones(1, dtype=torch.int64),
        }
    for prefix in ("pretrain.alpha0.0.", "pretrain.alpha0.7.", "retrieval."):
        recorded |= {
            f"{prefix}negative_{name}": torch.randint(s.batch, (s.batch,))
            for name in ("image_for_text", "text_for_image")
        }
    return recorded


def _figures(s: Sizes) -> dict[str, object]:
    names = [f"{side}_{r}" for side in ("txt", "img") for r in ("r1", "r5", "r10", "r_mean")] + ["r_mean"]
    belongs = {str(i): [2 * i, 2 * i + 1] for i in range(s.images)}
    return {"images_to_texts": belongs, "itm": dict.fromkeys(names, 50.0), "dual": dict.fromkeys(names, 50.0)}


def _ids(s: Sizes, rows: int, length: int) -> Tensor:
    ids = torch.randint(4, s.vocabulary, (rows, length))
    ids[:, 0] = CLS
    return ids


def _with_teacher(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    teacher = {}
    for name, tensor in weights.items():
        part, rest = name.split(".", 1)
        teacher[f"{part}_m.{rest}"] = tensor.clone()
    return {n: t.contiguous() for n, t in (weights | teacher).items()}


def _linear(name: str, out: int, into: int) -> dict[str, Tensor]:
    return {f"{name}.weight": 0.1 * torch.randn(out, into), f"{name}.bias": 0.1 * torch.randn(out)}


def _norm(name: str, width: int) -> dict[str, Tensor]:
    return {f"{name}.weight": 1 + 0.1 * torch.randn(width), f"{name}.bias": 0.1 * torch.randn(width)}


def _vision(s: Sizes) -> dict[str, Tensor]:
    name, w = "visual_encoder", s.width
    weights = {
        f"{name}.cls_token": torch.randn(1, 1, w),
        f"{name}.pos_embed": torch.randn(1, s.grid**2 + 1, w),
        f"{name}.patch_embed.proj.weight": 0.1 * torch.randn(w, 3, s.patch, s.patch),
        f"{name}.patch_embed.proj.bias": torch.randn(w),
    } | _norm(f"{name}.norm", w)
    for i in range(s.vision_layers):
        block = f"{name}.blocks.{i}"
        weights |= _norm(f"{block}.norm1", w) | _norm(f"{block}.norm2", w)
        weights |= _linear(f"{block}.attn.qkv", 3 * w, w) | _linear(f"{block}.attn.proj", w, w)
        weights |= _linear(f"{block}.mlp.fc1", 4 * w, w) | _linear(f"{block}.mlp.fc2", w, 4 * w)
    return weights


def _bert(s: Sizes, prefix: str, text_layers: int, fusion_layers: int) -> dict[str, Tensor]:
    weights = {
        f"{prefix}embeddings.word_embeddings.weight": torch.randn(s.vocabulary, s.width),
        f"{prefix}embeddings.position_embeddings.weight": torch.randn(s.positions, s.width),
        f"{prefix}embeddings.token_type_embeddings.weight": torch.randn(2, s.width),
        f"{prefix}embeddings.position_ids": torch.arange(s.positions)[None],
    } | _norm(f"{prefix}embeddings.LayerNorm", s.width)
    size = {"wt": s.width, "inner": s.inner, "source": s.width}
    for i in range(text_layers + fusion_layers):
        for part, out, into in BERT_PARTS + (CROSS_PARTS if i >= text_layers else ()):
            name = f"{prefix}encoder.layer.{i}.{part}"
            weights |= _linear(name, size[out], size[into]) if into else _norm(name, size[out])
    return weights


def _language_head(s: Sizes, prefix: str) -> dict[str, Tensor]:
    head = f"{prefix}cls.predictions"
    weights = {f"{head}.bias": torch.randn(s.vocabulary)} | _linear(f"{head}.transform.dense", s.width, s.width)
    return weights | _norm(f"{head}.transform.LayerNorm", s.width)


def _head(s: Sizes, classes: int) -> dict[str, Tensor]:
    return _linear("cls_head.0", s.width, s.width) | _linear("cls_head.2", classes, s.width)
