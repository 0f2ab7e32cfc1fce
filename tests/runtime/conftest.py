"""A bundle of graphs written by hand: what they compute is known without any exporter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from cbalign.data.image import Preprocessing
from cbalign.data.text import TextSettings, Tokenizer
from cbalign.runtime.bundle import MANIFEST, PREPROCESSING, SPEC, BundleManifest, list_files
from cbalign.tasks.align.runtime import SIGNATURES

SIZE, WIDTH = 4, 3

_HEAD = '<ir_version: 10, opset_import: ["" : 20]>\n'
# Tokens are the pixels in [0, 1]; the embedding is their mean, normalised.
IMAGE = """image (uint8[batch,4,4,3] pixels) => (float[batch,16,3] tokens, float[batch,3] embedding) {
    values = Cast <to = 1> (pixels)
    full = Constant <value_float = 255.0> ()
    scaled = Div (values, full)
    shape = Constant <value_ints = [0, 16, 3]> ()
    tokens = Reshape (scaled, shape)
    axis = Constant <value_ints = [1]> ()
    mean = ReduceMean <keepdims = 0> (tokens, axis)
    embedding = LpNormalization <axis = -1, p = 2> (mean)
}"""
# A token is its id, three times; the embedding is one-hot by the number of words modulo 3.
TEXT = """text (int64[batch,length] input_ids, int64[batch,length] attention_mask)
    => (float[batch,length,3] tokens, float[batch,3] embedding) {
    last = Constant <value_ints = [2]> ()
    column = Unsqueeze (input_ids, last)
    number = Cast <to = 1> (column)
    three = Concat <axis = 2> (number, number, number)
    tokens = Identity (three)
    axis = Constant <value_ints = [1]> ()
    words = ReduceSum <keepdims = 0> (attention_mask, axis)
    modulus = Constant <value_int = 3> ()
    place = Mod (words, modulus)
    values = Constant <value_floats = [0.0, 1.0]> ()
    embedding = OneHot <axis = -1> (place, modulus, values)
}"""
CODEBOOK = """codebook (float[batch,3] embedding)
    => (float[batch,3] probabilities, int64[batch] code, float[batch,3] prototype) {
    probabilities = Softmax <axis = 1> (embedding)
    code = ArgMax <axis = 1, keepdims = 0> (embedding)
    prototype = Identity (embedding)
}"""
# The score is the mean of an image's tokens times the first id of the text.
MATCH = """match (float[images,16,3] image_tokens, float[texts,length,3] text_tokens,
    int64[texts,length] attention_mask, int64[texts] image_index) => (float[texts] score) {
    axes = Constant <value_ints = [1, 2]> ()
    mean = ReduceMean <keepdims = 0> (image_tokens, axes)
    chosen = Gather <axis = 0> (mean, image_index)
    zero = Constant <value_int = 0> ()
    first = Gather <axis = 1> (text_tokens, zero)
    id = Gather <axis = 1> (first, zero)
    length = Constant <value_ints = [1]> ()
    words = ReduceMax <keepdims = 0> (attention_mask, length)
    present = Cast <to = 1> (words)
    product = Mul (chosen, id)
    score = Mul (product, present)
}"""
GRAPHS = {"image": IMAGE, "text": TEXT, "codebook": CODEBOOK, "match": MATCH}


def write_graph(path: Path, text: str) -> None:
    model = onnx.parser.parse_model(_HEAD + text)
    onnx.checker.check_model(model)
    path.parent.mkdir(exist_ok=True)
    onnx.save(model, path)


def write_manifest(folder: Path, graphs: tuple[str, ...] = tuple(GRAPHS)) -> None:
    (folder / MANIFEST).write_text(
        BundleManifest(
            name="by-hand",
            created="2026-01-01T00:00:00+00:00",
            run="by-hand-run",
            step=1,
            spec_fingerprint="0" * 64,
            graphs=graphs,
            precisions=("fp32",),
            opset=20,
            opset_reason="written by hand",
            versions={},
            files=list_files(folder),
            signatures={graph: SIGNATURES[graph] for graph in graphs},
        ).to_json()
    )


def write_bundle(folder: Path) -> None:
    folder.mkdir()
    for name, text in GRAPHS.items():
        write_graph(folder / "fp32" / f"{name}.onnx", text)
    Tokenizer.train(["a red fox", "a blue car", "two red cars"], 60, TextSettings(max_tokens=8)).save(folder)
    (folder / PREPROCESSING).write_text(Preprocessing(SIZE).to_json())
    (folder / SPEC).write_text("cbalign: 1\n")
    write_manifest(folder)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "by-hand"
    write_bundle(folder)
    return folder


@pytest.fixture
def pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
