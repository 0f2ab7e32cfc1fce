"""Opset 23's Attention on tokens instead of heads, in graphs as they are exported."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.exporting.graph import write_graph
from cbalign.models.bert import BertConfig, BertTextTower
from cbalign.models.vision import TimmVisionTower
from cbalign.tasks.align.runtime import SIGNATURES

BERT = BertConfig(vocabulary=40, width=16, layers=2, heads=2, intermediate=32, positions=16)
IDS, MASK = torch.arange(15).view(3, 5), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]])


class Images(nn.Module):
    """timm's attention: one linear map for queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = TimmVisionTower("vit_tiny_patch16_224", 32, layers=2, width=24, heads=3)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.tower(pixels.permute(0, 3, 1, 2))
        return tokens, F.normalize(tokens[:, 0], dim=-1)


class Unbiased(Images):
    """A map for queries, keys and values that has no bias."""

    def __init__(self) -> None:
        super().__init__()
        for block in self.tower.transformer.blocks:
            block.attn.qkv = nn.Linear(24, 72, bias=False)


class Texts(nn.Module):
    """BERT's attention: three linear maps, and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = BertTextTower(BERT, 2, 0.0)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.tower(input_ids, attention_mask)
        return tokens, F.normalize(tokens[:, 0], dim=-1)


class Shared(Texts):
    """Heads that something else reads as well."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        words = self.tower.embeddings(input_ids)
        heads = words.view(*words.shape[:2], 2, -1).transpose(1, 2)
        mask = attention_mask.bool()[:, None, None, :].expand(-1, -1, words.shape[1], -1)
        attended = F.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask)
        return attended.transpose(1, 2).flatten(2), attended.sum(dim=(1, 2))


def images(batch: int) -> tuple[Tensor, ...]:
    return (torch.randint(0, 256, (batch, 32, 32, 3), dtype=torch.uint8),)


def texts(batch: int) -> tuple[Tensor, ...]:
    return torch.randint(0, 40, (batch, 7)), (torch.arange(7) < torch.randint(1, 8, (batch, 1))).long()


CASES = {"image": (Images, images), "text": (Texts, texts)}


def written(graph: str, module: nn.Module, folder: Path, opset: int) -> onnx.ModelProto:
    example = images(3) if graph == "image" else (IDS, MASK)
    path = folder / f"{graph}.onnx"
    write_graph(module, SIGNATURES[graph], example, path, opset=opset, metadata={})
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, inputs: tuple[Tensor, ...], graph: str) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = dict(zip(SIGNATURES[graph].input_names, (tensor.numpy() for tensor in inputs), strict=True))
    return session.run(list(SIGNATURES[graph].output_names), feed)


@pytest.mark.parametrize("graph", CASES)
def test_attention_takes_tokens_and_no_heads_are_transposed(graph: str, tmp_path: Path) -> None:
    make, draw = CASES[graph]
    torch.manual_seed(0)
    module = make().eval()
    model = written(graph, module, tmp_path, 23)
    attentions = [node for node in model.graph.node if node.op_type == "Attention"]
    heads = [attribute.i for node in attentions for attribute in node.attribute if attribute.name == "q_num_heads"]
    assert heads == ([3, 3] if graph == "image" else [2, 2])
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["Transpose"] == (2 if graph == "image" else 0)  # pixels to channels first, patches to tokens
    assert not operators["Squeeze"] + operators["Split"]  # queries, keys and values have maps of their own
    for batch in (1, 2, 7):
        inputs = draw(batch)
        with torch.inference_mode():
            expected = module(*inputs)
        for found, wanted in zip(run(model, inputs, graph), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_what_one_map_without_bias_gives_is_split(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Unbiased().eval()
    model = written("image", module, tmp_path, 23)
    operators = Counter(node.op_type for node in model.graph.node)
    assert (operators["Split"], operators["Squeeze"]) == (2, 0)
    inputs = images(3)
    with torch.inference_mode():
        expected = module(*inputs)
    for found, wanted in zip(run(model, inputs, "image"), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_heads_that_are_read_elsewhere_stay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Shared().eval()
    model = written("text", module, tmp_path, 23)
    (attention,) = [node for node in model.graph.node if node.op_type == "Attention"]
    assert "q_num_heads" not in {attribute.name for attribute in attention.attribute}
    for found, wanted in zip(run(model, (IDS, MASK), "text"), module(IDS, MASK), strict=True):
        np.testing.assert_allclose(found, wanted.detach().numpy(), atol=1e-5)


def test_older_opsets_are_left_alone(tmp_path: Path) -> None:
    model = written("image", Images().eval(), tmp_path, 20)
    assert not [node for node in model.graph.node if node.op_type == "Attention"]
