from __future__ import annotations

from collections import Counter

import onnx
import pytest

from cbalign.exporting.bundle import Exported
from cbalign.exporting.opset import ATTENTION_OPSET, attention_problem, resolve_opset
from cbalign.runtime.placement import CPU, Device
from cbalign.runtime.session import Session


def test_auto_is_what_the_installed_onnxruntime_was_seen_to_run_well() -> None:
    assert attention_problem(Device("cpu")) is None
    chosen = resolve_opset("auto")
    assert chosen.version == ATTENTION_OPSET
    assert CPU in chosen.reason
    assert "equal outputs" in chosen.reason


def test_an_opset_of_the_spec_is_taken_as_it_is() -> None:
    assert (resolve_opset(21).version, resolve_opset(21).reason) == (21, "set in the spec")


@pytest.mark.parametrize("graph", ["image", "text", "match"])
def test_attention_is_one_node_that_runs_where_the_rest_does(exported: Exported, graph: str) -> None:
    assert exported.manifest.opset == ATTENTION_OPSET
    assert exported.manifest.opset_reason
    nodes = Counter(node.op_type for node in onnx.load(exported.folder / "fp32" / f"{graph}.onnx").graph.node)
    layers = 2
    assert nodes["Attention"] == layers * (2 if graph == "match" else 1)
    assert nodes["Softmax"] == 0
    (placement,) = (p for p in Session.open(exported.folder, "cpu", "fp32").placement if p.graph == graph)
    assert placement.work(CPU)["Attention"] == nodes["Attention"]
