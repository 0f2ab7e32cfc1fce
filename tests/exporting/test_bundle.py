from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from cbalign.errors import BundleError, ParityError, PartError, UsageError
from cbalign.experiment.export import ExportSection
from cbalign.experiment.load import load_experiment
from cbalign.exporting import bundle_writer
from cbalign.exporting.bundle import Exported, export_run
from cbalign.exporting.exportable import chosen_signatures
from cbalign.runtime.bundle import BundleFolder, is_bundle
from cbalign.runtime.golden import check_golden
from cbalign.runtime.session import Session
from cbalign.tasks.align.section import PretrainTask
from cbalign.tasks.load import load_model

GRAPHS = ("image", "text", "codebook", "match")


def test_a_bundle_has_all_that_running_it_needs(exported: Exported, run: Path) -> None:
    opened = BundleFolder.open(exported.folder)
    opened.verify()
    assert set(opened.manifest.files) == {
        *(f"{precision}/{graph}.onnx" for precision in ("fp32", "fp16", "int8") for graph in GRAPHS),
        *("spec.yaml", "README.md", "parity.json", "preprocessing.json", "tokenizer.json", "text.json", "golden.npz"),
    }
    assert opened.manifest.graphs == GRAPHS
    assert opened.manifest.run == run.name
    assert opened.manifest.step == 4
    assert (
        load_experiment(exported.folder / "spec.yaml").experiment == load_experiment(run / "resolved.yaml").experiment
    )
    assert json.loads((exported.folder / "parity.json").read_text())["passed"] is True
    card = (exported.folder / "README.md").read_text()
    assert "| rerank top 16 | image → text |" in card
    assert run.name in card


def test_a_bundle_computes_what_the_run_computes(exported: Exported, run: Path) -> None:
    encoder, session = load_model(run), Session.open(exported.folder, "cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    texts = ["red", "a small dark square and a large light round one 17", "blue 3"]
    images, words = encoder.encode_images(pixels), encoder.encode_texts(texts)
    found_images, found_words = session.encode_images(pixels), session.encode_texts(texts)
    np.testing.assert_allclose(found_images.embedding, images.embedding, atol=1e-5)
    np.testing.assert_allclose(found_words.embedding, words.embedding, atol=1e-5)
    index = np.array([4, 0, 4])
    np.testing.assert_allclose(
        session.match(found_images, found_words, index), encoder.match(images, words, index), atol=1e-4
    )
    vectors = np.concatenate([images.embedding, words.embedding])
    assert (session.assign(vectors).code == encoder.assign(vectors).code).all()


def test_a_text_alone_gives_what_it_gives_beside_longer_ones(exported: Exported) -> None:
    session = Session.open(exported.folder, "cpu")
    alone = session.encode_texts(["red 7"])
    beside = session.encode_texts(["red 7", "a small dark square and a large light round striped green one 17"])
    assert beside.tokens.shape[1] > alone.tokens.shape[1]
    np.testing.assert_allclose(beside.embedding[:1], alone.embedding, atol=1e-5)


def test_graphs_hold_the_student_only_and_tell_nothing_about_the_machine(exported: Exported, run: Path) -> None:
    parts = load_model(run).graphs
    for graph in GRAPHS:
        whole = b"".join((exported.folder / p / f"{graph}.onnx").read_bytes() for p in ("fp32", "fp16", "int8"))
        for trace in (b'File "', b".py", b"site-packages", str(run.parent).encode(), b"teacher", b"queue"):
            assert trace not in whole, (graph, trace)
        model = onnx.load(exported.folder / "fp32" / f"{graph}.onnx")
        stored = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
        own = sum(p.numel() for p in parts[graph].parameters())
        assert stored <= own + 200
        assert model.producer_name == "cbalign"


def test_recorded_outputs_are_repeated_and_a_difference_is_found(exported: Exported, tmp_path: Path) -> None:
    session = Session.open(exported.folder, "cpu")
    assert set(check_golden(session)) == {
        *("image_embedding", "text_embedding", "image_probabilities", "text_probabilities", "score"),
    }
    copy = tmp_path / "copy"
    shutil.copytree(exported.folder, copy)
    with np.load(copy / "golden.npz") as file:
        recorded = {name: file[name] for name in file.files}
    recorded["fp32.score"] = recorded["fp32.score"] + 1
    np.savez(copy / "golden.npz", **recorded)
    with pytest.raises(BundleError, match=r"golden\.npz is damaged"):
        Session.open(copy, "cpu")
    bundle_writer.write_manifest(copy, BundleFolder.open(copy).manifest)
    with pytest.raises(ParityError, match="outputs of fp32 differ"):
        check_golden(Session.open(copy, "cpu"))


def test_a_bundle_that_is_there_is_replaced_only_with_force(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiny"
    target.mkdir()
    (target / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="already exists") as caught:
        export_run(run, target)
    assert "force=True" in str(caught.value)
    with pytest.raises(UsageError, match="is not a bundle"):
        export_run(run, target, force=True)
    assert (target / "mine.txt").read_text() == "keep"
    (target / "mine.txt").unlink()
    for _ in range(2):  # an empty folder, then the bundle
        export_run(run, target, precisions=("int8",), force=True)
    assert is_bundle(target)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    only = Session.open(target, "cpu")
    assert only.precision == "int8"
    assert set(check_golden(only)) >= {"score"}
    assert not (target / "fp32").exists()  # made, judged, and not asked for


def test_a_bundle_that_computes_something_else_gets_no_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_graph = bundle_writer.write_graph

    def break_text(module: torch.nn.Module, signature: object, example: object, path: Path, **options: object) -> None:
        if path.stem == "text":
            with torch.no_grad():
                module.towers.text_projection.bias += 0.1
        write_graph(module, signature, example, path, **options)
        if path.stem == "text":
            with torch.no_grad():
                module.towers.text_projection.bias -= 0.1

    monkeypatch.setattr(bundle_writer, "write_graph", break_text)
    with pytest.raises(ParityError, match="the text graph does not compute what PyTorch computes: embedding") as caught:
        export_run(run, tmp_path / "tiny")
    assert "tiny.failed" in str(caught.value)
    assert "the output of towers.text_projection" in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.failed"]
    assert not is_bundle(tmp_path / "tiny.failed")
    assert json.loads((tmp_path / "tiny.failed" / "parity.json").read_text())["passed"] is False


def test_image_and_text_are_always_exported() -> None:
    task = PretrainTask(kind="pretrain")
    assert tuple(chosen_signatures(task, ExportSection(), GRAPHS)) == GRAPHS
    chosen = chosen_signatures(task, ExportSection(graphs=("codebook",)), GRAPHS)
    assert tuple(chosen) == ("image", "text", "codebook")


def test_a_graph_without_a_signature_is_not_left_out_silently() -> None:
    with pytest.raises(PartError, match=r"pretrain \(cbalign .*\) has the graph depth, but .* has no signature for it"):
        chosen_signatures(PretrainTask(kind="pretrain"), ExportSection(), (*GRAPHS, "depth"))
