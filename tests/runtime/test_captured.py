"""Fixed buffers by shape bucket, on the CPU's provider: the same code binds, pads, runs and cuts on a GPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbalign.runtime.captured import MOST_BUCKETS, CapturedGraph, bucket_of, can_be_captured
from cbalign.tasks.align.runtime import SIGNATURES
from cbalign.tasks.vqa.runtime import SIGNATURES as ANSWERING

from .conftest import GRAPHS, SIZE, write_graph

Graph = tuple[onnxruntime.InferenceSession, CapturedGraph]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Graph]:
    folder = tmp_path_factory.mktemp("captured")
    found = {}
    for name, text in GRAPHS.items():
        write_graph(folder / f"{name}.onnx", text)
        session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
        found[name] = (session, CapturedGraph(session, SIGNATURES[name], "cpu", 0))
    return found


def same(graph: Graph, name: str, *inputs: np.ndarray) -> None:
    session, captured = graph
    expected = session.run(SIGNATURES[name].output_names, dict(zip(SIGNATURES[name].input_names, inputs)))
    for found, value in zip(captured.run(inputs, SIGNATURES[name].output_names), expected, strict=True):
        assert found.dtype == value.dtype
        assert found.shape == value.shape
        assert found == pytest.approx(value)


@given(batch=st.integers(1, 40), length=st.integers(1, 30), seed=st.integers(0, 5))
def test_texts_of_any_size_come_out_as_without_buckets(
    graphs: dict[str, Graph], batch: int, length: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    mask = (np.arange(length) < generator.integers(1, length + 1, (batch, 1))).astype(np.int64)
    same(graphs["text"], "text", generator.integers(0, 50, (batch, length)) * mask, mask)


@given(images=st.integers(1, 9), texts=st.integers(1, 9), length=st.integers(1, 20), seed=st.integers(0, 5))
def test_pairs_of_any_number_come_out_as_without_buckets(
    graphs: dict[str, Graph], images: int, texts: int, length: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    image_tokens = generator.random((images, SIZE * SIZE, 3), np.float32)
    text_tokens = generator.random((texts, length, 3), np.float32)
    mask = np.ones((texts, length), np.int64)
    same(graphs["match"], "match", image_tokens, text_tokens, mask, generator.integers(0, images, texts))


def test_results_are_not_written_over_by_the_next_run(graphs: dict[str, Graph]) -> None:
    _, captured = graphs["image"]
    dark, light = (np.full((1, SIZE, SIZE, 3), value, np.uint8) for value in (0, 255))
    first, _ = captured.run([dark], ["tokens", "embedding"])
    second, _ = captured.run([light], ["tokens", "embedding"])
    assert (first == 0).all()
    assert (second == 1).all()


@pytest.mark.parametrize("batch", [3, 40])
def test_outputs_come_as_they_are_asked_for(graphs: dict[str, Graph], batch: int) -> None:
    session, captured = graphs["image"]
    pixels = np.random.default_rng(0).integers(0, 256, (batch, SIZE, SIZE, 3), dtype=np.uint8)
    wanted = ["embedding", "tokens"]
    for found, value in zip(captured.run([pixels], wanted), session.run(wanted, {"pixels": pixels}), strict=True):
        assert found == pytest.approx(value)
    (embedding,) = captured.run([pixels], ["embedding"])
    assert embedding.shape == (batch, 3)


def test_more_buckets_than_are_kept_go_on_working(graphs: dict[str, Graph]) -> None:
    for _ in range(2):
        for length in range(8, 8 * (MOST_BUCKETS + 4), 8):
            ones = np.ones((1, length), np.int64)
            same(graphs["text"], "text", ones, ones)


def test_threads_do_not_disturb_each_other(graphs: dict[str, Graph]) -> None:
    _, captured = graphs["image"]

    def mean(value: int) -> bool:
        (tokens,) = captured.run([np.full((1 + value % 3, SIZE, SIZE, 3), value, np.uint8)], ["tokens"])
        return bool(np.allclose(tokens, value / 255))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(mean, range(0, 250, 2)))


def test_buckets_are_few_and_never_smaller_than_what_goes_in() -> None:
    assert {bucket_of("batch", size) for size in range(1, 33)} == {1, 2, 4, 8, 16, 32}
    assert {bucket_of("length", size) for size in range(1, 33)} == {8, 16, 24, 32}
    assert all(bucket_of(name, size) >= size for name in ("batch", "length") for size in range(1, 100))


def test_inputs_that_do_not_fit_are_refused_as_without_buffers(graphs: dict[str, Graph]) -> None:
    codebook, match = graphs["codebook"][1], graphs["match"][1]
    for wrong in (np.eye(3), np.eye(3, dtype=np.float16), np.ones((2, 4), np.float32), np.ones(3, np.float32)):
        with pytest.raises(ValueError, match=r"embedding (is|has)"):
            codebook.run([wrong], ["code"])
    tokens, mask = np.ones((3, 5, 3), np.float32), np.ones((3, 5), np.int64)
    with pytest.raises(ValueError, match="image_index has 5 texts where others have 3"):
        match.run([np.ones((1, SIZE * SIZE, 3), np.float32), tokens, mask, np.zeros(5, np.int64)], ["score"])


def test_every_graph_of_which_the_inputs_tell_all_sizes_is_captured(graphs: dict[str, Graph]) -> None:
    assert {name: can_be_captured(session, SIGNATURES[name]) for name, (session, _) in graphs.items()} == dict.fromkeys(
        GRAPHS, True
    )


def test_a_graph_whose_outputs_have_sizes_of_their_own_is_not_captured(tmp_path: Path) -> None:
    text = """answer (float[questions,length,3] question_tokens, int64[questions,length] question_mask,
            int64[answers,answer_length] answer_ids, int64[answers] question_index)
        => (float[answers,shorter] token, float[answers,7] following) {
        one = Constant <value_ints = [1]> ()
        all = Constant <value_ints = [9999]> ()
        shorter = Slice (answer_ids, one, all, one)
        token = Cast <to = 1> (shorter)
        seven = Constant <value_ints = [7]> ()
        row = Unsqueeze (question_index, one)
        wide = Concat <axis = 1> (row, row, row, row, row, row, row)
        following = Cast <to = 1> (wide)
    }"""
    write_graph(tmp_path / "answer.onnx", text)
    session = onnxruntime.InferenceSession(tmp_path / "answer.onnx", providers=["CPUExecutionProvider"])
    assert not can_be_captured(session, ANSWERING["answer"])


def test_a_graph_that_leaves_its_own_sizes_open_is_not_captured(tmp_path: Path) -> None:
    write_graph(tmp_path / "open.onnx", GRAPHS["codebook"].replace("float[batch,3]", "float[batch,width]"))
    opened = onnxruntime.InferenceSession(tmp_path / "open.onnx", providers=["CPUExecutionProvider"])
    assert not can_be_captured(opened, SIGNATURES["codebook"])
