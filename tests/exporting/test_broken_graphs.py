"""Each test breaks a graph file in one way, as a wrong exporter would, and expects the ladder to say where."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cbalign.data.source import open_source
from cbalign.errors import ParityError
from cbalign.experiment.load import load_experiment
from cbalign.exporting import bundle_writer
from cbalign.exporting.bundle import Exported
from cbalign.exporting.parity import PrecisionReport
from cbalign.exporting.verification import verify_precision
from cbalign.models.encoder import TorchEncoder
from cbalign.runtime.bundle import BundleFolder
from cbalign.tasks.align.exportable import AlignmentExportable
from cbalign.tasks.load import load_model


@dataclass(frozen=True)
class Side:
    encoder: TorchEncoder
    exportable: AlignmentExportable


@pytest.fixture(scope="module")
def side(run: Path) -> Side:
    pairs = load_experiment(run / "resolved.yaml").experiment.data.validation
    assert pairs is not None
    encoder = load_model(run)
    return Side(encoder, AlignmentExportable.of(encoder, open_source(pairs, "pairs")))


def change_weights(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)).astype(np.float32), name))


def after(model: onnx.ModelProto, value: str, body: str) -> None:
    """Replace a value, for all that read it, by what `body` makes of `it`."""
    text = f'<ir_version: 10, opset_import: ["" : 23]> part (float[a] it) => (float[a] new) {{ {body} }}'
    nodes = list(onnx.parser.parse_model(text).graph.node)
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name == value:
                node.input[position] = "new"
    produced = [i for i, node in enumerate(model.graph.node) if value in node.output]
    for output in model.graph.output:
        if output.name == value:
            model.graph.node[produced[0]].output[0] = "it"
            nodes[-1].output[0] = value
            break
    else:
        for node in nodes:
            for position, name in enumerate(node.input):
                if name == "it":
                    node.input[position] = value
    place = produced[0] + 1 if produced else 0
    rest = [*model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*rest[:place], *nodes, *rest[place:]])


def another_weight(model: onnx.ModelProto) -> None:
    change_weights(
        model, "towers.text.layers.1.attention.output.bias", lambda bias: bias + np.linspace(-0.1, 0.1, len(bias))
    )


def padding_is_read(model: onnx.ModelProto) -> None:
    after(model, "attention_mask", "one = Constant<value_int = 1>() more = Add(it, one) new = Div(more, more)")


def batch_mates_are_read(model: onnx.ModelProto) -> None:
    after(model, "embedding", "axis = Constant<value_ints = [0]>() mean = ReduceMean(it, axis) new = Add(it, mean)")


def batch_is_fixed(model: onnx.ModelProto) -> None:
    after(model, "linear", "shape = Constant<value_ints = [3, -1, 24]>() new = Reshape(it, shape)")


def codes_are_shifted(model: onnx.ModelProto) -> None:
    (name,) = (tensor.name for tensor in model.graph.initializer if list(tensor.dims) == [16, 12])
    change_weights(model, name, lambda prototypes: np.roll(prototypes, 1, axis=1))


def pixels_are_normalised_otherwise(model: onnx.ModelProto) -> None:
    change_weights(model, "towers.vision.mean", lambda mean: mean + 0.1)


def an_operator_has_no_such_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[-1].attribute.append(onnx.helper.make_attribute("flavour", 1))


BREAKS: dict[str, tuple[Callable[[onnx.ModelProto], None], str, str, str]] = {
    "another weight": (another_weight, "text", "torch", "towers.text.layers.1.attention.output"),
    "padding is read": (padding_is_read, "text", "independence", "towers.text.layers.0"),
    "batch mates are read": (batch_mates_are_read, "image", "independence", ""),
    "the batch is fixed": (batch_is_fixed, "match", "torch", ""),
    "codes are shifted": (codes_are_shifted, "codebook", "codes", ""),
    "pixels are normalised otherwise": (pixels_are_normalised_otherwise, "image", "torch", "patch_embed.proj"),
    "invalid operator": (an_operator_has_no_such_attribute, "match", "checker", ""),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_graph_is_caught_and_located(exported: Exported, side: Side, tmp_path: Path, name: str) -> None:
    break_it, graph, kind, module = BREAKS[name]
    report = verify_broken(exported, side, tmp_path / "copy", "fp32", graph, break_it)
    assert not report.passed
    assert (graph, kind) in {(check.graph, check.kind) for check in report.failed}
    assert {check.graph for check in report.failed} <= {graph, "whole"}
    with pytest.raises(ParityError, match=f"fp32: the {graph} graph does not compute what PyTorch computes") as caught:
        report.require()
    if module:
        assert report.divergence is not None
        assert module in report.divergence
        assert f"The first tensor that differs is {report.divergence}" in caught.value.message
    assert not list((tmp_path / "copy" / "fp32").glob(".opened-*"))


def test_an_untouched_copy_passes(exported: Exported, side: Side, tmp_path: Path) -> None:
    report = verify_broken(exported, side, tmp_path / "copy", "fp32", "text", lambda model: None)
    assert report.passed
    report.require()
    assert report.divergence is None


def test_a_wrong_tensor_of_another_precision_is_located_beside_float32(
    exported: Exported, side: Side, tmp_path: Path
) -> None:
    def overflow(model: onnx.ModelProto) -> None:
        (name,) = (t.name for t in model.graph.initializer if "layers.0.feed_forward.contract.bias" in t.name)
        (tensor,) = (t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, np.inf, np.float16), name))

    report = verify_broken(exported, side, tmp_path / "copy", "fp16", "text", overflow)
    with pytest.raises(ParityError, match="Leave this precision out") as caught:
        report.require()
    assert "towers.text.layers.0.feed_forward.contract" in caught.value.message


def verify_broken(
    exported: Exported,
    side: Side,
    folder: Path,
    precision: str,
    graph: str,
    break_it: Callable[[onnx.ModelProto], None],
) -> PrecisionReport:
    shutil.copytree(exported.folder, folder)
    path = folder / precision / f"{graph}.onnx"
    model = onnx.load(path)
    break_it(model)
    path.write_bytes(model.SerializeToString())
    manifest = bundle_writer.write_manifest(folder, BundleFolder.open(folder).manifest)
    return verify_precision(side.exportable, folder, manifest, precision, lambda part: None)
