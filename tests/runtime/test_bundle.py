from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cbalign.errors import BundleError, UsageError
from cbalign.runtime.bundle import MANIFEST, BundleFolder, is_bundle, sealed
from cbalign.runtime.checker import check_graph
from cbalign.runtime.golden import check_golden
from cbalign.runtime.session import Session

from .conftest import write_graph, write_manifest


def edit_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    del values["sha256"]
    change(values)
    (folder / MANIFEST).write_text(sealed(values))


def test_an_untouched_bundle_verifies(bundle: Path) -> None:
    opened = BundleFolder.open(bundle)
    opened.verify()
    assert set(opened.manifest.files) == {
        *(f"fp32/{graph}.onnx" for graph in ("image", "text", "codebook", "match")),
        *("preprocessing.json", "spec.yaml", "tokenizer.json", "text.json"),
    }
    assert is_bundle(bundle)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.data())
def test_any_flipped_byte_of_any_file_is_found(bundle: Path, data: st.DataObject) -> None:
    """The manifest's own bytes included: its digest, its white space, its line ends."""
    name = data.draw(st.sampled_from([MANIFEST, *BundleFolder.open(bundle).manifest.files]))
    path = bundle / name
    content = path.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    flipped = content[position] ^ data.draw(st.integers(1, 255))
    path.write_bytes(content[:position] + bytes([flipped]) + content[position + 1 :])
    try:
        with pytest.raises(BundleError, match=name):
            BundleFolder.open(bundle).verify()
        with pytest.raises(BundleError):
            Session.open(bundle, "cpu")
    finally:
        path.write_bytes(content)


def test_an_edited_manifest_is_found(bundle: Path) -> None:
    path = bundle / MANIFEST
    path.write_text(path.read_text().replace('"step": 1', '"step": 2'))
    with pytest.raises(BundleError, match="its SHA-256 does not match"):
        BundleFolder.open(bundle)


def test_files_that_the_manifest_does_not_know_are_listed(bundle: Path) -> None:
    (bundle / "fp32" / "notes.txt").write_text("mine")
    assert BundleFolder.open(bundle).unlisted() == ["fp32/notes.txt"]


@pytest.mark.parametrize("name", ["fp32/text.onnx", "tokenizer.json", "text.json", "preprocessing.json"])
def test_truncated_missing_and_renamed_files_are_named(bundle: Path, name: str) -> None:
    path = bundle / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(BundleError, match=f"{name} is damaged: .* bytes instead of") as caught:
        Session.open(bundle)
    assert "cbalign export" in str(caught.value)
    path.rename(path.with_suffix(".old"))
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Session.open(bundle)


def test_a_graph_under_anothers_name_is_found(bundle: Path) -> None:
    (bundle / "fp32/match.onnx").write_bytes((bundle / "fp32/codebook.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"fp32/match\.onnx is damaged"):
        Session.open(bundle)


@pytest.mark.parametrize(("number", "remedy"), [(99, "Update cbalign."), (1, "Export it again with `cbalign export`.")])
def test_another_format_is_refused_with_what_to_do(bundle: Path, number: int, remedy: str) -> None:
    edit_manifest(bundle, lambda values: values.update(format=number))
    with pytest.raises(BundleError, match=f"the bundle has format {number}") as caught:
        BundleFolder.open(bundle)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "fp32/../../outside", "C:\\outside", "a\0b"])
def test_a_manifest_cannot_name_files_outside_of_the_bundle(bundle: Path, name: str) -> None:
    edit_manifest(bundle, lambda values: values["files"].update({name: {"sha256": "0", "size": 1}}))
    with pytest.raises(BundleError, match="outside the bundle"):
        BundleFolder.open(bundle)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"kind": "cbalign bundle"}', '{"kind": "cbalign bundle", "format": 2}', "[" * 100_000],
)
def test_a_damaged_manifest_is_named(bundle: Path, text: str) -> None:
    (bundle / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json: not a bundle's manifest"):
        BundleFolder.open(bundle)


def test_a_manifest_that_lacks_a_needed_file_is_refused(bundle: Path) -> None:
    edit_manifest(bundle, lambda values: values["files"].pop("tokenizer.json"))
    with pytest.raises(BundleError, match=r"does not list tokenizer\.json"):
        BundleFolder.open(bundle)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    assert not is_bundle(tmp_path)
    with pytest.raises(BundleError, match="is not a bundle"):
        BundleFolder.open(tmp_path)


@pytest.mark.parametrize(("key", "value"), [("precisions", ["../fp8"]), ("graphs", ["../text"]), ("precisions", [])])
def test_a_manifest_with_unknown_parts_is_refused(bundle: Path, key: str, value: list[str]) -> None:
    edit_manifest(bundle, lambda values: values.update({key: value}))
    with pytest.raises(BundleError, match="not a bundle's manifest"):
        BundleFolder.open(bundle)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("step", "../../x"), ("opset", "20"), ("name", None), ("run", 3)),
        *(("files", {"size": "9"}), ("files", {"size": -1}), ("files", {"sha256": "0"}), ("files", {"sha256": None})),
    ],
)
def test_a_manifest_with_values_of_other_types_is_refused(bundle: Path, key: str, value: object) -> None:
    def edit(values: dict) -> None:
        if isinstance(value, dict):
            values["files"]["spec.yaml"].update(value)
        else:
            values[key] = value

    edit_manifest(bundle, edit)
    with pytest.raises(BundleError, match="not a bundle's manifest"):
        BundleFolder.open(bundle)


@pytest.mark.parametrize(
    "change",
    [
        lambda signatures: signatures.pop("text"),
        lambda signatures: signatures["text"].pop("outputs"),
        lambda signatures: signatures["text"]["inputs"][0].update(dtype="float64"),
        lambda signatures: signatures["text"]["inputs"][0].update(shape=[1, 2]),
        lambda signatures: signatures["text"]["inputs"][0].update(name=None),
    ],
)
def test_a_manifest_with_damaged_signatures_is_refused(bundle: Path, change: Callable[[dict], object]) -> None:
    edit_manifest(bundle, lambda values: change(values["signatures"]))
    with pytest.raises(BundleError, match="not a bundle's manifest"):
        BundleFolder.open(bundle)


def test_a_session_runs_graphs_that_cbalign_does_not_know(bundle: Path) -> None:
    write_graph(bundle / "fp32" / "double.onnx", "double (float[batch] x) => (float[batch] y) { y = Add (x, x) }")
    ports = ({"name": name, "dtype": "float32", "shape": ["batch"]} for name in "xy")
    signature = {**{key: [port] for key, port in zip(("inputs", "outputs"), ports)}, "is_optional": False}
    write_manifest(bundle)
    edit_manifest(bundle, lambda values: values.update(graphs=["double"], signatures={"double": signature}))
    (doubled,) = Session.open(bundle, "cpu").run("double", np.ones(3, np.float32))
    assert doubled.tolist() == [2, 2, 2]


def test_the_task_of_an_earlier_bundle_defines_its_signatures(bundle: Path) -> None:
    expected = BundleFolder.open(bundle).signatures
    (bundle / "spec.yaml").write_text("cbalign: 1\ntask: {kind: pretrain}\n")
    write_manifest(bundle)
    edit_manifest(bundle, lambda values: values.pop("signatures"))
    assert BundleFolder.open(bundle).signatures == expected
    Session.open(bundle, "cpu")


def test_a_graph_that_the_task_of_an_earlier_bundle_lacks_is_refused(bundle: Path) -> None:
    (bundle / "spec.yaml").write_text("cbalign: 1\ntask: {kind: entailment}\n")
    write_manifest(bundle)
    edit_manifest(bundle, lambda values: values.pop("signatures"))
    with pytest.raises(BundleError, match="has the graph image, which task entailment does not have"):
        Session.open(bundle, "cpu")


def test_nothing_pickled_is_loaded(bundle: Path) -> None:
    """A recording of objects would run code of whoever made the bundle."""
    np.savez(bundle / "golden.npz", pixels=np.array([object()], dtype=object), texts=np.array(["a"]))
    write_manifest(bundle)
    with pytest.raises(BundleError, match=r"golden\.npz: cannot be read .*allow_pickle"):
        check_golden(Session.open(bundle, "cpu"))


def test_weights_outside_of_the_bundle_are_not_read(bundle: Path, tmp_path: Path) -> None:
    path = bundle / "fp32" / "codebook.onnx"
    model = onnx.load(path)
    weights = onnx.numpy_helper.from_array(np.ones(3, np.float32), "weights")
    model.graph.initializer.append(weights)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../../outside.bin")
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    (tmp_path / "outside.bin").write_bytes(np.ones(3, np.float32).tobytes())
    model.graph.node.add(op_type="Mul", input=["embedding", "weights"], output=["scaled"])
    path.write_bytes(model.SerializeToString())
    write_manifest(bundle)
    with pytest.raises(BundleError, match=r"codebook\.onnx"):
        check_graph(path)
    with pytest.raises(BundleError, match=r"codebook\.onnx reads weights from .* does not list"):
        Session.open(bundle, "cpu")


def test_a_precision_that_is_not_there_is_refused_with_those_that_are(bundle: Path) -> None:
    with pytest.raises(UsageError, match="has no int8 graphs, only fp32"):
        Session.open(bundle, precision="int8")
