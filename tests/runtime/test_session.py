from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from cbalign.errors import BundleError, DataError, DeviceError, UsageError
from cbalign.runtime import placement
from cbalign.runtime.images import load_pixels
from cbalign.runtime.machine import installed
from cbalign.runtime.placement import Device, GraphPlacement, check_placement, find_device
from cbalign.runtime.session import Session

from .conftest import GRAPHS, SIZE, write_graph, write_manifest

has_gpu = placement._nvidia_gpus() > 0


def test_a_session_computes_what_the_graphs_say(bundle: Path, pixels: np.ndarray) -> None:
    session = Session.open(bundle, "cpu")
    images = session.encode_images(pixels)
    assert images.tokens == pytest.approx(pixels.reshape(5, 16, 3) / 255)
    mean = pixels.reshape(5, 16, 3).mean(axis=1)
    assert images.embedding == pytest.approx(mean / np.linalg.norm(mean, axis=1, keepdims=True), abs=1e-6)

    texts = session.encode_texts(["a red fox", "car", "two blue cars and a fox"])
    lengths = texts.attention_mask.sum(axis=1)
    assert texts.tokens.shape == (3, lengths.max(), 3)
    assert (texts.embedding.argmax(axis=1) == lengths % 3).all()

    index = np.array([4, 0, 4])
    expected = images.tokens.mean(axis=(1, 2))[index] * session.tokenizer.cls_id
    assert session.match(images, texts, index) == pytest.approx(expected)
    assert (session.assign(images.embedding).code == images.embedding.argmax(axis=1)).all()


def test_where_every_node_runs_is_recorded(bundle: Path) -> None:
    session = Session.open(bundle, "cpu")
    assert [p.graph for p in session.placement] == list(GRAPHS)
    assert all(
        set(p.nodes) == {"CPUExecutionProvider"} and p.nodes["CPUExecutionProvider"] > 0 for p in session.placement
    )


@pytest.mark.skipif(has_gpu, reason="this machine has a GPU")
def test_a_gpu_that_is_asked_for_and_not_there_is_an_error_and_auto_takes_the_cpu(bundle: Path) -> None:
    with pytest.raises(DeviceError, match="cuda was requested, but") as caught:
        Session.open(bundle, "cuda")
    assert caught.value.exit_code == 4
    assert "cpu" in str(caught.value.remedy)
    assert Session.open(bundle, "auto").device == Device("cpu")


def test_a_session_that_fell_back_is_refused(bundle: Path) -> None:
    """Whatever says that a GPU is there, what counts is where the nodes are."""
    (found, *_) = Session.open(bundle, "cpu").placement
    with pytest.raises(DeviceError, match="would run it on the CPU"):
        check_placement(found, ["CPUExecutionProvider"], Device("cuda"))
    work = GraphPlacement(
        "image", {"CUDAExecutionProvider": {"MatMul": 3}, "CPUExecutionProvider": {"Attention": 2, "Shape": 9}}
    )
    with pytest.raises(DeviceError, match="2 Attention would run elsewhere"):
        check_placement(work, ["CUDAExecutionProvider", "CPUExecutionProvider"], Device("cuda"))
    shapes = GraphPlacement("image", {"CUDAExecutionProvider": {"MatMul": 3}, "CPUExecutionProvider": {"Shape": 9}})
    check_placement(shapes, ["CUDAExecutionProvider", "CPUExecutionProvider"], Device("cuda"))


def test_why_nodes_are_where_they_are_is_told(bundle: Path) -> None:
    asked, found = Session.open(bundle, "cpu"), find_device("auto", "int8")
    assert asked.placement[0].reasons(asked.device) == {"CPUExecutionProvider": "as requested"}
    assert (found, found.reason) == (Device("cpu"), "int8 is intended for CPUs")
    split = GraphPlacement("image", {"CUDAExecutionProvider": {"MatMul": 3}, "CPUExecutionProvider": {"Shape": 9}})
    assert "by design" in split.reasons(Device("cuda"))["CPUExecutionProvider"]
    fallen = GraphPlacement("image", {"CUDAExecutionProvider": {"MatMul": 3}, "CPUExecutionProvider": {"Attention": 2}})
    assert "2 compute nodes" in fallen.reasons(Device("cuda"))["CPUExecutionProvider"]
    left = GraphPlacement("image", {"TensorrtExecutionProvider": {"X": 1}, "CUDAExecutionProvider": {"MatMul": 3}})
    with pytest.raises(DeviceError, match="3 MatMul would run elsewhere"):
        check_placement(left, ["TensorrtExecutionProvider", "CUDAExecutionProvider"], Device("tensorrt"))


@pytest.mark.skipif(has_gpu, reason="this machine has a GPU")
def test_why_auto_takes_the_cpu_is_told() -> None:
    assert "no NVIDIA GPU" in find_device("auto").reason
    with pytest.raises(DeviceError, match="tensorrt was requested, but"):
        find_device("tensorrt")


def test_two_packages_of_onnxruntime_are_noticed(tmp_path: Path) -> None:
    ours = next(name for name in ("onnxruntime-gpu", "onnxruntime") if installed([name]))
    other = "onnxruntime" if ours == "onnxruntime-gpu" else "onnxruntime-gpu"
    code = "from cbalign.runtime.placement import package_conflict; print(package_conflict())"

    def told() -> str:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
        ).stdout

    assert told() == "None\n"
    folder = tmp_path / f"{other.replace('-', '_')}-1.2.3.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {other}\nVersion: 1.2.3\n")
    assert f"{other} 1.2.3" in told()
    assert "overwrite each other" in told()


@pytest.mark.parametrize("asked", ["gpu", "cuda:x", "cpu:1", "", "auto:0"])
def test_unknown_devices_are_refused(asked: str) -> None:
    with pytest.raises(UsageError, match="no device"):
        find_device(asked)


def test_parts_that_were_not_exported_are_refused(bundle: Path, pixels: np.ndarray) -> None:
    for graph in ("codebook", "match"):
        (bundle / "fp32" / f"{graph}.onnx").unlink()
    write_manifest(bundle, ("image", "text"))
    session = Session.open(bundle, "cpu")
    assert not session.has_codebook
    assert not session.has_matcher
    with pytest.raises(UsageError, match="no codebook graph"):
        session.assign(session.encode_images(pixels).embedding)


def test_a_graph_with_other_inputs_is_refused(bundle: Path) -> None:
    write_graph(bundle / "fp32" / "match.onnx", GRAPHS["codebook"])
    write_manifest(bundle)
    with pytest.raises(BundleError, match=r"match\.onnx is not a match graph"):
        Session.open(bundle, "cpu")


def test_a_graph_that_onnxruntime_cannot_load_is_named(bundle: Path) -> None:
    (bundle / "fp32" / "text.onnx").write_bytes(onnx.ModelProto(ir_version=99).SerializeToString())
    write_manifest(bundle)
    with pytest.raises(BundleError, match=rf"text\.onnx: onnxruntime {onnxruntime.__version__} cannot load"):
        Session.open(bundle, "cpu")


def test_inputs_that_onnxruntime_refuses_are_told_with_their_shapes(bundle: Path, pixels: np.ndarray) -> None:
    session = Session.open(bundle, "cpu")
    images, texts = session.encode_images(pixels), session.encode_texts(["a fox"])
    with pytest.raises(BundleError, match=r"cannot run the match graph on .*image_index int64 \(1,\)"):
        session.match(images, texts, np.array([99]))


@pytest.mark.parametrize("shape", [(1, SIZE, SIZE), (1, 3, SIZE, SIZE), (1, SIZE + 1, SIZE, 3)])
def test_pixels_of_another_shape_or_type_are_refused(bundle: Path, shape: tuple[int, ...]) -> None:
    session = Session.open(bundle, "cpu")
    with pytest.raises(UsageError, match="images must be uint8"):
        session.encode_images(np.zeros(shape, np.uint8))
    with pytest.raises(UsageError, match="not float32"):
        session.encode_images(np.zeros((1, SIZE, SIZE, 3), np.float32))  # type: ignore[arg-type]


def test_paths_bytes_pillow_images_and_arrays_are_the_same_picture(tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(array).save(path)
    translucent = Image.fromarray(array).convert("RGBA")
    prepared = load_pixels([path, str(path), path.read_bytes(), Image.fromarray(array), translucent, array], SIZE)
    assert prepared.shape == (6, SIZE, SIZE, 3)
    assert (prepared == prepared[0]).all()
    assert load_pixels([], SIZE).shape == (0, SIZE, SIZE, 3)
    assert (load_pixels([array / 255], SIZE) == prepared[0]).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((4, 4, 3), 7.0), "must lie in \\[0, 1\\], not in \\[7, 7\\]"),
        (np.full((4, 4, 3), np.nan, np.float32), "48 of 48 values of the image array are not finite"),
        (np.zeros((4, 4, 3), np.int64), "must be uint8, or float"),
        (np.zeros((4, 4), np.uint8), "must be \\(H, W, 3\\)"),
        (np.zeros((0, 4, 3), np.uint8), "must be \\(H, W, 3\\)"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_pixels([array], SIZE)


def test_a_session_takes_pictures_as_they_come(bundle: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    session = Session.open(bundle, "cpu")
    path = tmp_path / "0.png"
    Image.fromarray(pixels[0]).save(path)
    found = session.encode_images([path, pixels[1], Image.fromarray(pixels[2])])
    assert found.embedding == pytest.approx(session.encode_images(pixels[:3]).embedding)
    assert session.embed_images([path, pixels[1]]) == pytest.approx(session.encode_images(pixels[:2]).embedding)
    assert session.encode_images([]).embedding.shape == session.embed_images([]).shape == (0, 3)
    with pytest.raises(UsageError, match="must be a list"):
        session.encode_images(path)  # type: ignore[arg-type]


def test_long_inputs_are_cut_into_batches_that_change_nothing(bundle: Path, pixels: np.ndarray) -> None:
    whole, cut = Session.open(bundle, "cpu"), Session.open(bundle, "cpu", batch_size=2)
    images, texts = whole.encode_images(pixels), whole.encode_texts(["a red fox", "car", "two blue cars and a fox"])
    index = np.array([4, 0, 4])
    assert cut.encode_images(pixels).tokens == pytest.approx(images.tokens)
    assert cut.encode_images(list(pixels)).embedding == pytest.approx(images.embedding)
    assert cut.embed_images(pixels) == pytest.approx(images.embedding)
    assert cut.embed_texts(["a red fox", "car", "two blue cars and a fox"]) == pytest.approx(texts.embedding)
    assert (cut.encode_texts(["a red fox", "car", "two blue cars and a fox"]).tokens == texts.tokens).all()
    assert cut.match(images, texts, index) == pytest.approx(whole.match(images, texts, index))
    assert (cut.assign(images.embedding).code == whole.assign(images.embedding).code).all()


def test_a_session_searches_by_text_and_by_example(bundle: Path) -> None:
    session = Session.open(bundle, "cpu")
    colours = np.eye(3, dtype=np.float32)
    assert session.search("red cars", colours, 1).position.tolist() == [
        0
    ]  # three tokens: the first of three directions
    example = np.zeros((SIZE, SIZE, 3), np.uint8)
    example[..., 2] = 200
    found = session.search(example, colours, 2)
    assert found.position[0] == 2
    assert found.score == pytest.approx([1.0, 0.0])


def test_one_text_is_not_taken_for_its_letters(bundle: Path) -> None:
    session = Session.open(bundle, "cpu")
    for method in (session.embed_texts, session.encode_texts):
        with pytest.raises(UsageError, match="must be a list"):
            method("a red fox")


def test_no_program_is_started_for_a_picture(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="not an image"):
        Session.open(bundle, "cpu").embed_images([b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
    assert not (tmp_path / "started").exists()


def test_running_a_bundle_needs_no_torch_and_says_nothing(bundle: Path) -> None:
    code = (
        "import sys; from cbalign.runtime.session import Session; from cbalign.evaluation.retrieval import *; "
        f"s = Session.open({str(bundle)!r}); s.encode_texts(['a fox']); "
        "assert not {'torch', 'transformers', 'timm', 'onnx'} & set(sys.modules), 'heavy imports'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
