"""Bundles that were made to do harm, with hashes that agree: each is one BundleError, and nothing outside is read."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cbalign.data.image import Preprocessing
from cbalign.errors import BundleError
from cbalign.runtime import external_data
from cbalign.runtime.bundle import GOLDEN, MANIFEST, SPEC, BundleFolder, is_bundle
from cbalign.runtime.external_data import external_files
from cbalign.runtime.golden import read_golden
from cbalign.runtime.session import Session
from tests.runtime.conftest import write_manifest


def refused(folder: Path, what: str) -> BundleError:
    """Open and verify a bundle whose manifest is made to agree with its files."""

    def use() -> None:
        BundleFolder.open(folder).verify()
        Session.open(folder, "cpu")

    with pytest.raises(BundleError, match=what) as caught:
        use()
    assert len(str(caught.value)) < 3000
    return caught.value


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link_to(target: str) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return link


def folder_in_place(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


ODD = {
    "pipe": (fifo, "not a regular file"),
    "endless device": (link_to("/dev/zero"), "outside of the bundle"),
    "file of the system": (link_to("/etc/hostname"), "outside of the bundle"),
    "file above": (link_to("../secret"), "outside of the bundle|is missing"),
    "folder": (folder_in_place, "not a regular file|cannot be read"),
    "loop": (link_to("text.json"), "cannot be read|outside"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["text.json", "fp32/image.onnx"])
def test_only_regular_files_inside_the_folder_are_opened(bundle: Path, odd: str, name: str) -> None:
    (bundle.parent / "secret").write_text("secret")
    make, message = ODD[odd]
    if odd == "loop":
        make = link_to(Path(name).name)
    make(bundle / name)
    refused(bundle, message)


@pytest.mark.parametrize("odd", ["pipe", "endless device", "file above", "folder"])
def test_a_manifest_that_is_no_regular_file_is_not_read(bundle: Path, odd: str) -> None:
    (bundle.parent / "secret").write_bytes((bundle / MANIFEST).read_bytes())
    make, message = ODD[odd]
    make(bundle / MANIFEST)
    with pytest.raises(BundleError, match=message):
        BundleFolder.open(bundle)
    assert not is_bundle(bundle)


def test_links_that_stay_inside_are_followed(bundle: Path) -> None:
    (bundle / "text.json").rename(bundle / "stored")
    (bundle / "text.json").symlink_to("stored")
    BundleFolder.open(bundle).verify()
    linked = bundle.with_name("linked")
    linked.symlink_to(bundle)
    BundleFolder.open(linked).verify()


def test_a_file_that_grows_while_it_is_read_is_not_read_further(bundle: Path, tmp_path: Path) -> None:
    from cbalign.runtime.bundle_files import hash_file

    assert hash_file(io.BytesIO(b"x" * 5000), 100)[1] == 101


def seal(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    write_manifest(folder)


def external(bundle: Path, location: str, graph: str = "image") -> None:
    """Let a graph keep one of its tensors in another file."""
    path = bundle / "fp32" / f"{graph}.onnx"
    model = onnx.load(path)
    tensor = onnx.numpy_helper.from_array(np.ones(4, np.float32), "kept")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    model.graph.initializer.append(tensor)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    "location", ["weights.bin", "../fp32/weights.bin", "/etc/hostname", "sub/weights.bin", "text.json"]
)
def test_a_graph_that_keeps_weights_in_a_file_that_is_not_listed_is_refused(bundle: Path, location: str) -> None:
    external(bundle, location)
    seal(bundle)
    (bundle / "fp32" / "weights.bin").write_bytes(b"\0" * 16)
    refused(bundle, "reads weights from .* does not list")


def test_listed_weights_next_to_the_graph_are_verified_with_it(bundle: Path) -> None:
    external(bundle, "weights.bin")
    (bundle / "fp32" / "weights.bin").write_bytes(b"\0" * 16)
    seal(bundle)
    BundleFolder.open(bundle).verify_external_data("fp32")
    (bundle / "fp32" / "weights.bin").write_bytes(b"\1" * 16)
    refused(bundle, r"weights\.bin is damaged or was changed")


def tensors_everywhere() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Models that keep a tensor outside in each place that onnx.proto has for one."""

    def outside(name: str) -> onnx.TensorProto:
        tensor = onnx.TensorProto(name=name, data_location=onnx.TensorProto.EXTERNAL)
        tensor.external_data.add(key="offset", value="0")
        tensor.external_data.add(key="location", value=name)
        return tensor

    def graph(**fields: Any) -> onnx.ModelProto:
        return onnx.ModelProto(graph=onnx.GraphProto(**fields))

    def node(**fields: Any) -> onnx.NodeProto:
        return onnx.NodeProto(op_type="X", attribute=[onnx.AttributeProto(name="a", **fields)])

    sparse = onnx.SparseTensorProto(values=outside("v"), indices=outside("i"), dims=[3])
    inner = onnx.GraphProto(initializer=[outside("inner")])
    yield "initializer", graph(initializer=[outside("x")])
    yield "sparse", graph(sparse_initializer=[sparse])
    yield "attribute", graph(node=[node(t=outside("x"))])
    yield "attributes", graph(node=[node(tensors=[outside("x"), outside("y")])])
    yield "subgraph", graph(node=[node(g=inner)])
    yield "subgraphs", graph(node=[node(graphs=[inner, inner])])
    yield "sparse attribute", graph(node=[node(sparse_tensor=sparse)])
    yield "sparse attributes", graph(node=[node(sparse_tensors=[sparse])])
    function = onnx.FunctionProto(name="f", node=[node(t=outside("x"))])
    function.attribute_proto.add(name="d", t=outside("default"))
    yield "function", onnx.ModelProto(functions=[function])
    training = onnx.TrainingInfoProto(initialization=inner, algorithm=onnx.GraphProto(node=[node(t=outside("x"))]))
    yield "training", onnx.ModelProto(training_info=[training])


@pytest.mark.parametrize(
    ("place", "model"), list(tensors_everywhere()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_external_data_is_found_wherever_a_tensor_can_be(tmp_path: Path, place: str, model: onnx.ModelProto) -> None:
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    expected = set()

    def visit(message: Any) -> None:  # through reflection, independent of the numbers of fields
        for descriptor, value in message.ListFields():
            if descriptor.message_type is None:
                continue
            many = isinstance(value, (list, tuple)) or hasattr(value, "add")
            for each in value if many else [value]:
                if descriptor.name == "external_data" and each.key == "location":
                    expected.add(each.value)
                visit(each)

    visit(model)
    assert expected, place
    assert external_files(tmp_path / "m.onnx") == expected


def test_the_places_of_tensors_are_all_that_onnx_knows() -> None:
    """Every field that leads to a tensor by the installed onnx is one that cbalign follows."""
    ours = {
        "ModelProto": external_data.MODEL, "GraphProto": external_data.GRAPH, "NodeProto": external_data.NODE,
        "AttributeProto": external_data.ATTRIBUTE, "SparseTensorProto": external_data.SPARSE,
        "FunctionProto": external_data.FUNCTION, "TrainingInfoProto": external_data.TRAINING,
        "TensorProto": external_data.TENSOR,
    }  # fmt: skip
    for name, message in ours.items():
        descriptor = getattr(onnx, name).DESCRIPTOR
        leads = {f.number for f in descriptor.fields if f.message_type is not None and f.message_type.name in ours}
        assert leads <= set(message.fields), name


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x3a\xff\xff\xff\xff\x0f", b"\x0f" * 40, b"\x80" * 12])
def test_what_is_no_graph_is_a_bundle_error(bundle: Path, content: bytes) -> None:
    (bundle / "fp32" / "text.onnx").write_bytes(content)
    seal(bundle)
    refused(bundle, r"text\.onnx")


def test_a_spec_that_extends_another_file_is_refused_and_the_file_not_quoted(bundle: Path) -> None:
    (bundle.parent / "private").write_text("password: hunter2 : secret\n")
    (bundle / SPEC).write_text(f"extends: {bundle.parent}/private\ncbalign: 1\nname: x\n")
    seal(bundle)
    with pytest.raises(BundleError, match="extends no file") as caught:
        _ = BundleFolder.open(bundle).loaded
    assert "hunter2" not in str(caught.value)
    with pytest.raises(BundleError) as caught:
        _ = BundleFolder.open(bundle).task
    assert "hunter2" not in str(caught.value)


def test_a_spec_of_a_bundle_cannot_show_variables_of_the_environment(bundle: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    (bundle / SPEC).write_text("cbalign: 1\nname: x\ndescription: ${env:SECRET}\n")
    with pytest.raises(BundleError) as caught:
        _ = BundleFolder.open(bundle).loaded
    assert "hunter2" not in str(caught.value)


DEEP = "[" * 100_000
WORDPIECE = {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100}


def tokenizer_of(**model: Any) -> bytes:
    return json.dumps({"version": "1.0", "model": model}).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("preprocessing.json", b"\xff\xfe\x00"),
        ("preprocessing.json", DEEP.encode()),
        ("preprocessing.json", Preprocessing(16).to_json().replace(": 16,", f": {10**30},").encode()),
        ("preprocessing.json", Preprocessing(16).to_json().replace("0.48145466", "NaN").encode()),
        ("text.json", DEEP.encode()),
        ("text.json", b"\xff"),
        ("text.json", b"[]"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", tokenizer_of(type="WordPiece", vocab={}, unk_token="[UNK]", **WORDPIECE)),
        ("tokenizer.json", tokenizer_of(type="Unigram", unk_id=None, vocab=[])),
    ],
)  # fmt: skip
def test_a_malformed_part_is_a_bundle_error(bundle: Path, name: str, content: bytes) -> None:
    (bundle / name).write_bytes(content)
    seal(bundle)
    assert name in str(refused(bundle, "."))


def test_a_tokenizer_without_a_token_for_unknown_words_is_a_bundle_error(bundle: Path) -> None:
    values = json.loads((bundle / "tokenizer.json").read_text())
    values["model"]["unk_token"] = "[NOTHING]"
    (bundle / "tokenizer.json").write_text(json.dumps(values))
    seal(bundle)
    assert "tokenizer.json" in str(refused(bundle, "."))


def archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


PIXELS, TEXTS = np.zeros((2, 4, 4, 3), np.uint8), np.array(["a", "b"])
GOLDENS = {
    "outputs as text": {"pixels": PIXELS, "texts": TEXTS, "fp32.x": np.array(["a", "b"])},
    "outputs as bytes": {"pixels": PIXELS, "texts": TEXTS, "fp32.x": np.array([b"a", b"b"])},
    "outputs as dates": {"pixels": PIXELS, "texts": TEXTS, "fp32.x": np.array(["2020-01-01"], "datetime64[D]")},
    "outputs of fields": {"pixels": PIXELS, "texts": TEXTS, "fp32.x": np.zeros(2, [("a", "f4")])},
    "no items": {"pixels": PIXELS[:0], "texts": TEXTS[:0], "fp32.x": np.zeros((0, 3))},
    "no numbers": {"pixels": PIXELS, "texts": TEXTS, "fp32.x": np.zeros((0, 3))},
    "one text": {"pixels": PIXELS, "texts": np.array("a"), "fp32.x": np.zeros(2)},
    "pixels as text": {"pixels": TEXTS, "texts": TEXTS, "fp32.x": np.zeros(2)},
    "another precision": {"pixels": PIXELS, "texts": TEXTS, "int8.x": np.zeros(2)},
    "no texts": {"pixels": PIXELS, "fp32.x": np.zeros(2)},
    "complex": {"pixels": PIXELS, "texts": TEXTS, "fp32.x": np.zeros(2, complex)},
}


@pytest.mark.parametrize("what", GOLDENS)
def test_recorded_outputs_of_other_types_are_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / GOLDEN).write_bytes(archive(**GOLDENS[what]))
    with pytest.raises(BundleError, match=r"golden\.npz: cannot be read"):
        read_golden(tmp_path / GOLDEN, "fp32")


@pytest.mark.parametrize("content", [b"", b"PK", archive(pixels=PIXELS)[:-9]])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / GOLDEN).write_bytes(content)
    with pytest.raises(BundleError, match=r"golden\.npz"):
        read_golden(tmp_path / GOLDEN, "fp32")


def test_a_bare_array_and_endless_headers_are_refused_in_few_words(tmp_path: Path) -> None:
    np.save(tmp_path / "bare.npy", PIXELS)
    (tmp_path / GOLDEN).write_bytes((tmp_path / "bare.npy").read_bytes())
    with pytest.raises(BundleError, match=r"golden\.npz"):
        read_golden(tmp_path / GOLDEN, "fp32")
    import zipfile

    header = b"{'descr': " + b"(" * 5000 + b")" * 5000 + b", 'fortran_order': False, 'shape': (1,)}\n"
    with zipfile.ZipFile(tmp_path / GOLDEN, "w") as file:
        file.writestr("pixels.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(BundleError) as caught:
        read_golden(tmp_path / GOLDEN, "fp32")
    assert len(caught.value.message) < 600


def test_an_archive_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("cbalign.runtime.golden._LARGEST", 10_000)
    file = io.BytesIO()
    np.savez_compressed(file, pixels=np.zeros((2, 100, 100, 3), np.uint8), texts=TEXTS)
    (tmp_path / GOLDEN).write_bytes(file.getvalue())
    with pytest.raises(BundleError, match="it holds"):
        read_golden(tmp_path / GOLDEN, "fp32")


@pytest.mark.parametrize("key", ["graphs", "precisions"])
def test_names_of_thousands_of_characters_are_not_quoted_whole(bundle: Path, key: str) -> None:
    values = json.loads((bundle / MANIFEST).read_text())
    from cbalign.runtime.bundle import sealed

    values.pop("sha256")
    for change in ({key: ["x" * 100_000]}, {"files": {"../" * 20_000: {"sha256": "0" * 64, "size": 1}}}):
        (bundle / MANIFEST).write_text(sealed({**values, **change}))
        with pytest.raises(BundleError) as caught:
            BundleFolder.open(bundle)
        assert len(str(caught.value)) < 1000
