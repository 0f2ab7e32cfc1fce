from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx.reference import ReferenceEvaluator

from cbalign.cli import main
from cbalign.exporting.bundle import Exported
from cbalign.exporting.half import to_half
from cbalign.exporting.precision import require_precision, write_precision
from cbalign.runtime import placement
from cbalign.runtime.precisions import precision_section
from cbalign.runtime.session import Session

# Two islands (Softmax, LayerNormalization) read the same product, and one constant serves product and island.
GRAPH = """<ir_version: 10, opset_import: ["" : 20]>
small (float[b,4] x) => (float[b,4] y, int64[b] place) {
    product = MatMul (x, weight)
    shifted = Add (product, scale)
    weights = Softmax <axis = -1> (shifted)
    normal = LayerNormalization <axis = -1> (shifted, scale)
    mixed = Mul (weights, normal)
    y = MatMul (mixed, weight)
    place = ArgMax <axis = 1, keepdims = 0> (mixed)
}"""


def small() -> onnx.ModelProto:
    model = onnx.parser.parse_model(GRAPH)
    generator = np.random.default_rng(0)
    for name, shape in (("weight", (4, 4)), ("scale", (4,))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(generator.random(shape, np.float32), name))
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def halved(precision: str) -> onnx.ModelProto:
    model = ir.from_proto(small())
    to_half(model, precision)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


X = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)


def test_fp16_computes_the_same_to_its_precision_with_the_same_ports() -> None:
    sessions = [
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for model in (small(), halved("fp16"))
    ]
    ports = [[(port.name, port.type) for port in (*s.get_inputs(), *s.get_outputs())] for s in sessions]
    assert ports[0] == ports[1]
    (y, place), (found, found_place) = (session.run(None, {"x": X}) for session in sessions)
    assert 0 < np.abs(found - y).max() < 1e-2
    assert (found_place == place).all()


def test_bf16_computes_the_same_to_its_precision() -> None:
    """By ONNX's reference evaluator: no CPU kernel of onnxruntime multiplies in bfloat16."""
    y, place = ReferenceEvaluator(small()).run(None, {"x": X})
    found, found_place = ReferenceEvaluator(halved("bf16")).run(None, {"x": X})
    assert found.dtype == np.float32
    assert 0 < np.abs(found - y).max() < 5e-2
    assert (found_place == place).all()


def test_products_are_in_half_and_islands_are_not() -> None:
    model = onnx.shape_inference.infer_shapes(halved("fp16"), strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Softmax", "LayerNormalization"):
            wanted = onnx.TensorProto.FLOAT16 if node.op_type == "MatMul" else onnx.TensorProto.FLOAT
            assert {types[name] for name in (*node.input, *node.output)} == {wanted}, node.op_type
    outputs = [name for node in model.graph.node for name in node.output]
    assert len(outputs) == len(set(outputs))


def test_weights_of_any_precision_can_lie_beside_the_graph_and_be_moved(exported: Exported, tmp_path: Path) -> None:
    for precision in ("fp16", "int8"):
        folder = tmp_path / precision
        folder.mkdir()
        write_precision(
            precision_section(precision),
            exported.folder / "fp32" / "text.onnx",
            folder / "text.onnx",
            {},
            inline_limit=100,
        )
        assert sorted(path.name for path in folder.iterdir()) == ["text.onnx", "text.onnx.data"]
        moved = folder.rename(tmp_path / f"moved-{precision}") / "text.onnx"
        feed = {"input_ids": np.array([[2, 5, 7]]), "attention_mask": np.array([[1, 1, 1]])}
        tokens, embedding = (
            onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["embedding"], feed)[0]
            for path in (moved, exported.folder / precision / "text.onnx")
        )
        assert (tokens == embedding).all()


def test_every_precision_is_smaller_proven_and_has_its_own_recall(exported: Exported) -> None:
    parity = json.loads((exported.folder / "parity.json").read_text())
    sizes = {}
    for precision in ("fp32", "fp16", "int8"):
        report = parity["precisions"][precision]
        assert report["passed"] is True
        assert {check["rung"] for check in report["checks"]} == {
            *("checker", "torch", "independence", "inputs", "codes", "task"),
        }
        assert "dual/text_to_image/r1" in report["metrics"]
        sizes[precision] = (exported.folder / precision / "match.onnx").stat().st_size
    assert sizes["fp32"] > 1.3 * sizes["fp16"]
    assert sizes["fp32"] > 1.3 * sizes["int8"]
    card = (exported.folder / "README.md").read_text()
    assert "### int8" in card
    assert "an item's vector changes slightly with its neighbours" in card


def test_int8_quantises_products_and_leaves_the_last_maps_and_the_codes(exported: Exported) -> None:
    for graph in ("image", "text", "match"):
        model = onnx.load(exported.folder / "int8" / f"{graph}.onnx")
        kinds = Counter(node.op_type for node in model.graph.node)
        assert kinds["MatMulInteger"] > 4
        assert kinds["MatMul"] == 1
        assert {entry.key for entry in model.metadata_props} >= {"cbalign.precision", "cbalign.graph"}
        assert "int8" in {entry.value for entry in model.metadata_props}
    codes = [(exported.folder / precision / "codebook.onnx").read_bytes() for precision in ("fp32", "fp16", "int8")]
    assert codes[0] == codes[1] == codes[2]


@pytest.mark.skipif(placement._nvidia_gpus() > 0, reason="this machine has a GPU")
def test_bf16_is_refused_where_nothing_runs_it(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["export", str(run), "--output", str(tmp_path / "tiny"), "--precision", "bf16"])
    assert result.exit_code == 4
    assert "no bfloat16 matrix product" in result.stderr
    assert "Use fp16" in result.stderr
    assert list(tmp_path.iterdir()) == []
    require_precision(precision_section("fp16"))


def test_the_first_precision_is_used_unless_another_is_asked_for(exported: Exported) -> None:
    assert Session.open(exported.folder, "cpu").precision == "fp32"
    assert Session.open(exported.folder, "cpu", "int8").precision == "int8"
