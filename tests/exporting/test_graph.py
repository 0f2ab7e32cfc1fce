from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.errors import CbalignError
from cbalign.exporting.graph import INLINE_LIMIT, MODULE, write_graph
from cbalign.tasks.align.runtime import SIGNATURES


class Texts(nn.Module):
    """A text graph with masked attention over any length."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(20, 8)
        self.read = nn.Linear(8, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        words = self.words(input_ids)[:, None]
        mask = attention_mask.bool()[:, None, None, :]
        tokens = F.scaled_dot_product_attention(words, self.read(words), words, attn_mask=mask)[:, 0]
        return tokens, F.normalize(tokens[:, 0], dim=-1)


class FixedBatch(Texts):
    """Code that only works for the batch it was traced with."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.words(input_ids).reshape(3, -1, 8)
        return tokens, F.normalize(tokens[:, 0], dim=-1)


EXAMPLE = (torch.arange(15).view(3, 5), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]))


def write(path: Path, module: nn.Module | None = None, opset: int = 20, limit: int = INLINE_LIMIT) -> Path:
    module = (module or Texts()).eval()
    facts = {"cbalign.name": "stand-in"}
    write_graph(module, SIGNATURES["text"], EXAMPLE, path, opset=opset, metadata=facts, inline_limit=limit)
    return path


def run(path: Path, ids: Tensor, mask: Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["tokens", "embedding"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("graph") / "text.onnx")


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (2, 5), (7, 3), (32, 11)])
def test_batch_and_length_are_free(written: Path, batch: int, length: int) -> None:
    ids = torch.randint(0, 20, (batch, length))
    mask = (torch.arange(length) < torch.randint(1, length + 1, (batch, 1))).long()
    with torch.inference_mode():
        expected = Texts()(ids, mask)
    for found, wanted in zip(run(written, ids, mask), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_the_file_tells_nothing_about_the_machine_that_made_it(written: Path) -> None:
    content = written.read_bytes()
    for trace in (b'File "', b".py", b"/tmp", str(Path.home()).encode() + b"/", b"site-packages", b"nn.Module"):
        assert trace not in content
    model = onnx.load(written)
    assert model.producer_name == "cbalign"
    assert {entry.key: entry.value for entry in model.metadata_props} == {"cbalign.name": "stand-in"}
    assert not any(node.doc_string for node in model.graph.node)
    told = [(node.op_type, entry.key, entry.value) for node in model.graph.node for entry in node.metadata_props]
    assert sorted(told) == [("Add", MODULE, "read"), ("Gather", MODULE, "words")]


def test_the_file_passes_the_checker_and_has_its_names(written: Path) -> None:
    """Names that the traced code also uses inside, as `embedding` here, belong to the ports alone."""
    model = onnx.load(written)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in model.graph.output] == ["tokens", "embedding"]
    assert [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", "length"]


def test_weights_above_the_limit_go_to_one_file_that_can_be_moved(tmp_path: Path) -> None:
    path = write(tmp_path / "text.onnx", limit=100)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["text.onnx", "text.onnx.data"]
    expected = run(path, *EXAMPLE)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in ("text.onnx", "text.onnx.data"):
        shutil.move(tmp_path / file, moved / file)
    for found, wanted in zip(run(moved / "text.onnx", *EXAMPLE), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_batch_that_the_code_fixes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CbalignError, match="the text graph"):
        write(tmp_path / "text.onnx", FixedBatch())
    assert not (tmp_path / "text.onnx").exists()


def test_an_opset_that_is_asked_for_is_used(tmp_path: Path) -> None:
    path = write(tmp_path / "text.onnx", opset=21)
    assert [entry.version for entry in onnx.load(path).opset_import if entry.domain == ""] == [21]
    run(path, *EXAMPLE)
