"""`cbalign evaluate`, `export` and `verify` as a user meets them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cbalign.cli import main
from cbalign.evaluation.differences import largest_difference
from cbalign.evaluation.result import EvaluationDocument
from cbalign.exporting.bundle import Exported


def cbalign(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert "Traceback" not in result.stderr
    return result


def document(*words: object) -> dict:
    result = cbalign(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def evaluation(*words: object) -> EvaluationDocument:
    return EvaluationDocument.from_json(json.dumps(document("evaluate", *words)))


def test_run_and_bundle_get_the_same_table(run: Path, exported: Exported) -> None:
    of_run, of_bundle = evaluation(run, "--on", "test"), evaluation(exported.folder, "--on", "test")
    assert of_run.backend.startswith("torch")
    assert of_bundle.backend.startswith("onnxruntime")
    assert [r.describe() for r in of_run.results] == [r.describe() for r in of_bundle.results]
    assert largest_difference(of_run.results, of_bundle.results)[1] <= 2.5  # one of 40 queries
    mine, theirs = (each.results[0].diagnostics.geometry for each in (of_run, of_bundle))
    assert asdict(theirs) == pytest.approx(asdict(mine), abs=1e-3)
    table = cbalign("evaluate", exported.folder, "--on", "test").stdout
    assert "rerank top 8" in table
    assert "test (" in table


def classified(*words: object) -> EvaluationDocument:
    settings = ("--set", 'templates=["a {}", "the {}"]', "--set", "protocols=[dual, code]")
    return evaluation(*words, "--kind", "zero_shot", *settings)


def test_run_and_bundle_classify_the_same_images_and_tell_the_same_foils(
    run: Path, exported: Exported, tmp_path: Path
) -> None:
    for name in ("red", "dark_blue"):
        (tmp_path / "colours" / name).mkdir(parents=True)
        for number in range(6):
            shutil.copy(run.parents[1] / f"{number}.png", tmp_path / "colours" / name)
    of_run, of_bundle = (classified(each, "--on", tmp_path / "colours") for each in (run, exported.folder))
    assert [r.describe() for r in of_run.results] == [f"zero_shot {p} of 12 items, 32 px" for p in ("dual", "code")]
    assert [r.predictions for r in of_run.results] == [r.predictions for r in of_bundle.results]
    assert [result.split for result in of_run.results] == ["colours", "colours"]
    assert (run / "evaluation" / "colours-zero_shot-dual-step4.json").is_file()

    probe = ("--kind", "probe", "--on", tmp_path / "colours", "--set", f"train_images={tmp_path / 'colours'}")
    of_run, of_bundle = (evaluation(each, *probe) for each in (run, exported.folder))
    assert [r.protocol_name for r in of_run.results] == ["probe linear", "probe knn"]
    assert [r.predictions for r in of_run.results] == [r.predictions for r in of_bundle.results]

    foils = [{"filename": f"{n}.png", "caption": "red dark", "negative_caption": "dark red"} for n in range(6)]
    (tmp_path / "swap.json").write_text(json.dumps(foils))
    words = ("--kind", "compositional", "--set", f"foils={tmp_path / 'swap.json'}", "--set", f"images={run.parents[1]}")
    of_run, of_bundle = (evaluation(each, *words, "--protocol", "match") for each in (run, exported.folder))
    assert of_run.results[0].flat().keys() == {"compositional/match/accuracy"}
    assert of_run.results[0].flat() == of_bundle.results[0].flat()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--kind", "zero_shot"), 2, "classes without templates"),
        (("--kind", "zero_shot", "--set", "templates=a picture"), 2, "has no {} in the place of the class"),
        (("--kind", "zero_shot", "--on", "nowhere", "--set", "templates=a {}"), 2, "neither a split nor a file"),
        (("--kind", "compositional", "--on", "test"), 2, "source csv has pairs, not foils"),
        (("--kind", "compositional", "--set", "images=."), 2, "images without foils"),
        (("--kind", "compositional", "--on", "FOILS"), 3, "no such image"),
        (("--kind", "vqa"), 2, "are evaluated by "),
        (("--kind", "zero_shot", "--set", "templates=a {}", "--set", "images=gone"), 3, "gone: no such file or folder"),
        (("--kind", "probe"), 2, "train_images: "),
        (("--kind", "zero_shot", "--set", "templates"), 2, "is not NAME=VALUE"),
        (("--kind", "zero_shot", "--set", "top_k=3", "--set", "templates=a {}"), 2, "top_k"),
    ],
)
def test_incomplete_evaluations_are_refused(
    run: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    entry = {"filename": "lost.png", "caption": "a", "negative_caption": "b"}
    (tmp_path / "foils.json").write_text(json.dumps([entry]))
    before = sorted((run / "evaluation").glob("*"))
    result = cbalign("evaluate", run, *(tmp_path / "foils.json" if word == "FOILS" else word for word in words))
    assert result.exit_code == code, result.stderr
    assert message in result.stderr
    assert result.stdout == ""
    assert sorted((run / "evaluation").glob("*")) == before


def test_results_are_written_in_the_forms_of_other_benchmarks(exported: Exported, tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("clip_benchmark", "mteb")}
    exports = [word for name, folder in folders.items() for word in ("--export", f"{name}={folder}")]
    found = document("evaluate", exported.folder, "--on", "test", "--protocol", "dual", *exports)
    recall = found["results"][0]["text_to_image"]["metrics"]["r5"]
    clip = json.loads((folders["clip_benchmark"] / "test-dual-zeroshot_retrieval.json").read_text())
    assert clip["metrics"]["image_retrieval_recall@5"] == pytest.approx(recall / 100)
    assert (clip["model"], clip["dataset"]) == ("tiny", "pairs")
    mteb = json.loads((folders["mteb"] / "test-dual-T2IRetrieval.json").read_text())
    assert mteb["scores"]["test"][0]["cv_recall_at_5"] == pytest.approx(recall / 100)
    wrong = cbalign("evaluate", exported.folder, "--on", "test", "--export", "csv=here")
    assert wrong.exit_code == 2
    assert "'csv=here' is not FORMAT=DIR with clip_benchmark or mteb" in wrong.stderr


def test_results_of_a_run_are_kept_with_the_rank_of_every_query(run: Path) -> None:
    cbalign("evaluate", run, "--on", "test", "--protocol", "rerank", "--top-k", 3, "--bootstrap", 0)
    kept = EvaluationDocument.from_json((run / "evaluation" / "test-rerank3-step4.json").read_text())
    assert len(kept.results[0].text_to_image.ranks) == 40
    assert kept.results[0].top_k == 3
    assert kept.results[0].image_to_text.interval is None
    assert kept.step == 4


def test_without_options_the_specs_own_list_is_measured(run: Path) -> None:
    found = evaluation(run)
    assert [(r.split, r.protocol_name) for r in found.results] == [
        ("validation", "dual"),
        ("validation", "rerank top 8"),
        ("validation", "code"),
    ]


def test_a_bundle_is_evaluated_and_verified_without_torch(exported: Exported, tmp_path: Path) -> None:
    # The package onnx is only looked for by verify, which runs its checker where it is installed.
    for words, light in (
        (["evaluate", str(exported.folder), "--on", "test"], "onnx"),
        (["verify", str(exported.folder)], ""),
    ):
        code = (
            "import sys\nfrom cbalign.cli import main\n"
            f"try: main({words!r})\n"
            "except SystemExit as stop: assert not stop.code, stop.code\n"
            f"assert not {{'torch', 'transformers', 'timm', {light!r}}} & set(sys.modules), 'heavy imports'\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")


def test_pairs_of_a_file_can_be_measured(run: Path, exported: Exported, tmp_path: Path) -> None:
    pictures = run.parents[1]
    for name in ("3.png", "5.png"):
        shutil.copy(pictures / name, tmp_path / name)
    (tmp_path / "mine.csv").write_text("image,caption\n3.png,red 3\n5.png,blue 5\n")
    (tmp_path / "mine.json").write_text('[{"image": "3.png", "caption": ["red 3", "one more"]}]')
    found = evaluation(exported.folder, "--on", tmp_path / "mine.csv")
    assert [(r.split, r.images, r.texts) for r in found.results] == [("mine", 2, 2)] * 3
    assert evaluation(exported.folder, "--on", tmp_path / "mine.json").results[0].texts == 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--on", "nowhere"], 2, "neither a split nor a file"),
        (["--device", "cuda:99"], 4, "cuda:99 was requested"),
        (["--require", "tensorrt"], 4, "tensorrt was requested"),
        (["--device", "tpu"], 2, "no device 'tpu'"),
        (["--precision", "bf16"], 2, "no bf16 graphs, only fp32, fp16, int8"),
    ],
)
def test_what_cannot_be_evaluated_is_told_in_one_message(
    exported: Exported, words: list[str], code: int, message: str
) -> None:
    result = cbalign("evaluate", exported.folder, *words)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""


def test_what_is_neither_run_nor_bundle_is_told(tmp_path: Path) -> None:
    result = cbalign("evaluate", tmp_path)
    assert result.exit_code == 2
    assert "neither a run nor a bundle" in result.stderr


def test_a_changed_bundle_is_refused(exported: Exported, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported.folder, copy)
    (copy / "notes.txt").write_text("mine")
    verified = cbalign("verify", copy, "--device", "cpu")
    assert "12 graphs pass the ONNX checker" in verified.stdout
    assert "2 Attention" in verified.stdout
    assert "notes.txt is not in the manifest" in verified.stderr
    report = document("verify", copy, "--precision", "int8")["precisions"]
    assert [(each["precision"], each["device"]) for each in report] == [("int8", "cpu")]
    placed = report[0]["placement"]["text"]["CPUExecutionProvider"]
    assert placed["work"]["MatMulInteger"] > 0
    assert placed["nodes"] == sum(placed["operators"].values())
    path = copy / "fp32" / "match.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    for verb in ("verify", "evaluate"):
        result = cbalign(verb, copy)
        assert result.exit_code == 3
        assert "match.onnx is damaged or was changed" in result.stderr


def test_export_prints_the_bundle_and_refuses_to_overwrite_it(run: Path, tmp_path: Path) -> None:
    first = cbalign("export", run, "--output", tmp_path / "tiny")
    assert first.exit_code == 0, first.stderr
    assert first.stdout.strip() == str(tmp_path / "tiny")
    again = cbalign("export", run, "--output", tmp_path / "tiny")
    assert again.exit_code == 2
    assert "--force" in again.stderr
    replaced = document("export", run, "--output", tmp_path / "tiny", "--force")
    assert replaced["graphs"] == ["image", "text", "codebook", "match"]
    assert replaced["opset_reason"]
    tightest = replaced["precisions"]["fp32"]["tightest"]
    assert tightest["error"] <= tightest["limit"]


def test_each_precision_is_evaluated_by_itself(exported: Exported) -> None:
    backends = {
        precision: evaluation(exported.folder, "--on", "test", "--precision", precision, "--bootstrap", 0).backend
        for precision in ("fp32", "fp16", "int8")
    }
    assert all(backend.endswith(precision) for precision, backend in backends.items())


@pytest.mark.parametrize(
    ("value", "message"), [("[fp8]", "fp32, fp16, bf16 or int8"), ("[int8, int8]", "precisions lists int8 twice")]
)
def test_wrong_precisions_in_a_spec_are_told(run: Path, value: str, message: str) -> None:
    result = cbalign("validate", run / "spec.yaml", "--set", f"export.precisions={value}", "--no-files")
    assert result.exit_code == 2
    assert message in result.stderr + result.stdout


def test_a_bundle_is_measured_beside_the_model_it_was_made_from(run: Path, exported: Exported, tmp_path: Path) -> None:
    words = ["benchmark", exported.folder, "--run", run, "--precision", "int8", "--quick", "--rounds", 2, "--batch", 2]
    result = cbalign(*words, "--device", "cpu", "--output", tmp_path / "result.json")
    assert result.exit_code == 0, result.stderr
    assert "texts matched with one image" in result.stdout
    found = json.loads((tmp_path / "result.json").read_text())
    assert [row["subject"] for row in found["rows"]] == ["torch eager fp32", "torch autocast bf16", "onnxruntime int8"]
    for row in found["rows"]:
        assert set(row["timings"]) == {"image", "text", "match"}
        assert row["timings"]["image"]["latency"]["batch"] == 1
        assert row["peak_memory"] > 10_000_000
        assert set(row["recall"]) == {"image_to_text_r1", "text_to_image_r1"}
    sizes = {row["subject"]: row["size"] for row in found["rows"]}
    assert sizes["onnxruntime int8"] == sum(p.stat().st_size for p in (exported.folder / "int8").iterdir())
    assert found["opset"] == exported.manifest.opset
    assert found["machine"]["cores"] >= 1
    assert str(Path.home().name) not in found["machine"].values()


def test_a_bundle_alone_is_measured_without_torch(exported: Exported, tmp_path: Path) -> None:
    words = ["benchmark", str(exported.folder), "--quick", "--rounds", "1", "--batch", "2", "--no-recall", "--json"]
    words += ["--precision", "fp32", "--device", "cpu"]
    code = (
        "import sys\nfrom cbalign.cli import main\n"
        f"try: main({words!r})\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert not {'torch', 'transformers', 'timm', 'onnx'} & set(sys.modules), 'heavy imports'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["subject"], row["recall"]) == ("onnxruntime fp32", None)


def test_a_benchmark_beside_another_run_is_refused(run: Path, exported: Exported, tmp_path: Path) -> None:
    other = tmp_path / "another-run"
    shutil.copytree(run, other)
    result = cbalign("benchmark", exported.folder, "--run", other, "--quick")
    assert result.exit_code == 2
    assert f"exported from {run.name}" in result.stderr
    assert cbalign("benchmark", exported.folder, "--precision", "bf16").exit_code == 2
    assert cbalign("benchmark", tmp_path).exit_code == 3
