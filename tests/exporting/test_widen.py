"""Hidden layers of float32 graphs whose rows would fall on each other in a CPU's cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.engine.reporter import Silent
from cbalign.experiment.export import Precision
from cbalign.experiment.load import load_experiment
from cbalign.exporting.bundle import export_run
from cbalign.exporting.graph import write_graph
from cbalign.exporting.precision import write_precision
from cbalign.exporting.widen import idle_bytes
from cbalign.runtime.precisions import precision_section
from cbalign.tasks.align.runtime import SIGNATURES
from cbalign.tasks.train import train_experiment

from .conftest import write_experiment


class Perceptrons(nn.Module):
    """Words through two MLPs that share a bias."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(40, 8)
        self.first, self.second = (
            nn.ModuleList(nn.Linear(*shape) for _ in range(2)) for shape in ((8, hidden), (hidden, 8))
        )
        self.first[1].bias = self.first[0].bias

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.embed(input_ids) * attention_mask[..., None]
        for first, second in zip(self.first, self.second, strict=True):
            tokens = tokens + second(F.gelu(first(tokens)))
        return tokens, F.normalize(tokens[:, 0], dim=-1)


class Watched(Perceptrons):
    """What is hidden is read elsewhere as well."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.gelu(self.first[0](self.embed(input_ids) * attention_mask[..., None]))
        return self.second[0](hidden), hidden[:, 0]


EXAMPLE = (torch.arange(15).view(3, 5), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]))


def written(module: nn.Module, folder: Path, precision: Precision = "fp32") -> onnx.ModelProto:
    traced = folder / "traced" / "text.onnx"
    traced.parent.mkdir()
    write_graph(module, SIGNATURES["text"], EXAMPLE, traced, opset=20, metadata={})
    path = folder / "text.onnx"
    write_precision(precision_section(precision), traced, path, {})
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return model


def hidden_widths(model: onnx.ModelProto) -> list[int]:
    sizes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    return [sizes[n.input[1]][0] for n in model.graph.node if n.op_type == "MatMul" and sizes[n.input[1]][1] == 8]


def weight_bytes(model: onnx.ModelProto) -> int:
    return sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)


@pytest.mark.parametrize(("hidden", "widened"), [(1024, 1040), (3072, 3088), (1000, 1000), (1536, 1536)])
def test_rows_of_whole_pages_are_widened_and_nothing_else_changes(hidden: int, widened: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Perceptrons(hidden).eval()
    model = written(module, tmp_path)
    assert hidden_widths(model) == [widened, widened]
    traced = onnx.load(tmp_path / "traced" / "text.onnx")
    assert idle_bytes(model) == weight_bytes(model) - weight_bytes(traced)
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        ids, mask = torch.randint(0, 40, (batch, 6)), (torch.arange(6) < torch.randint(1, 7, (batch, 1))).long()
        found = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        for value, wanted in zip(found, module(ids, mask), strict=True):
            np.testing.assert_allclose(value, wanted.detach().numpy(), atol=1e-5)


def test_half_precision_keeps_its_widths(tmp_path: Path) -> None:
    assert hidden_widths(written(Perceptrons(1024).eval(), tmp_path, "fp16")) == [1024, 1024]


def test_a_hidden_layer_that_is_read_elsewhere_stays(tmp_path: Path) -> None:
    assert hidden_widths(written(Watched(1024).eval(), tmp_path)) == [1024]


def test_a_model_of_which_every_weight_is_exported_is_still_the_student_alone(tmp_path: Path) -> None:
    wide = ["width=256", "heads=4"]
    changes = [f"model.{tower}.{change}" for tower in ("vision", "text") for change in wide]
    changes += ["model.text.intermediate=1024", "train.duration=1 step", "objectives.codebook.weight=0"]
    changes += ["objectives.matching.weight=0", "objectives.masked_language.weight=0"]
    changes += ["evaluate=[{kind: retrieval, on: validation, protocols: [dual], bootstrap: 0}]"]
    loaded = load_experiment(write_experiment(tmp_path), changes)
    run = train_experiment(loaded, tmp_path / "runs", Silent(), argv=["cbalign"]).run.folder
    exported = export_run(run, tmp_path / "wide", precisions=("fp32",))
    widened = [idle_bytes(onnx.load(exported.folder / "fp32" / f"{graph}.onnx")) for graph in ("image", "text")]
    assert widened == [2 * (2 * 256 + 1) * 16 * 4] * 2
