"""What cbalign 0.1.0 wrote to disk still loads, and still means the same: see README.md beside this file.

Everything is asked of the command line, on copies, and compared with what 0.1.0 itself said. Only `RENAMED`, the test
of model cards and that of `cbalign.load` know anything of the code.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors import safe_open

import cbalign as package
from cbalign.cli import main
from cbalign.experiment.dump import experiment_fingerprint
from cbalign.experiment.load import load_experiment
from cbalign.runtime.bundle import BundleFolder
from cbalign.runtime.task import task_runtime

HERE = Path(__file__).parent
EXPECTED = HERE / "expected"

# Beginnings of the names of tensors in checkpoints that were called something else in 0.1.0: old beginning -> new.
RENAMED: dict[str, str] = {
    "codebook.": "objectives.codebook.codebook.",
    "match_head.": "objectives.matching.head.",
    "student.masked_language_head.": "objectives.masked_language.head.student.",
    "teacher.network.masked_language_head.": "objectives.masked_language.head.teacher.network.",
}

NAMES = (
    "pretrain",
    "pretrain-interrupted",
    "albef",
    "retrieval",
    "vqa",
    "vqa-interrupted",
    "entailment",
    "nlvr2-assignment",
    "nlvr2",
)
BUNDLES = ("pretrain", "vqa", "nlvr2", "entailment")
EVALUATED_RUNS = (*(f"run-{name}" for name in NAMES if name != "nlvr2-assignment"), "run-pretrain-test")
EVALUATED_BUNDLES = (*(f"bundle-{name}-fp32" for name in BUNDLES), "bundle-pretrain-int8")
STARTS = {
    "retrieval": "pretrain",
    "vqa": "pretrain",
    "entailment": "pretrain",
    "nlvr2-assignment": "pretrain",
    "nlvr2": "nlvr2-assignment",
}

Copied = Callable[[str], Path]


def original(name: str) -> Path:
    """The stored run of a spec."""
    (found,) = (
        path for path in (HERE / "runs").iterdir() if re.fullmatch(f"{name}-\\d{{8}}T\\d{{6}}Z-\\w+", path.name)
    )
    return found


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CBALIGN_PRETRAINED", raising=False)
    return tmp_path


@pytest.fixture
def copied(place: Path) -> Copied:
    """Copies a run to `place`/runs."""

    def copy(name: str) -> Path:
        run = original(name)
        shutil.copytree(run, place / "runs" / run.name)
        return Path("runs") / run.name

    return copy


def cbalign(*words: object, code: int = 0) -> str:
    """Run a command line in this process and give what it prints on stdout."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result.stdout


def recorded(name: str) -> Any:
    return json.loads((EXPECTED / f"{name}.json").read_text(encoding="utf-8"))


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(EXPECTED / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def assert_same(found: Any, expected: Any, where: str = "") -> None:
    """All that is expected is there, numbers within 1e-6; there may be more, and sentences may be worded anew."""
    if isinstance(expected, dict):
        for key in expected.keys() - {"describe"}:
            assert key in found, f"{where}.{key} is missing"
            assert_same(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for index, (one, other) in enumerate(zip(found, expected)):
            assert_same(one, other, f"{where}[{index}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6), where
    else:
        assert found == expected, where


# Evaluation


def assert_evaluates(target: Path, name: str) -> None:
    expected = recorded(f"evaluations/{name}")
    found = json.loads(cbalign("evaluate", target, "--device", "cpu", "--json", *expected["words"]))
    assert_same(found["results"], expected["results"])


@pytest.mark.parametrize("name", EVALUATED_RUNS)
def test_a_run_is_measured_as_it_was(name: str, copied: Copied) -> None:
    assert_evaluates(copied(name.removeprefix("run-").removesuffix("-test")), name)


@pytest.mark.parametrize("name", EVALUATED_BUNDLES)
def test_a_bundle_is_measured_as_it_was(name: str, place: Path) -> None:
    _, bundle, precision = name.split("-")
    if precision == "int8":
        skip_if_int8_differs_here()
    shutil.copytree(HERE / "bundles" / bundle, place / bundle)
    assert_evaluates(Path(bundle), name)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_bundle_is_verified(bundle: str) -> None:
    found = json.loads(cbalign("verify", HERE / "bundles" / bundle, "--device", "cpu", "--json"))
    assert [each["precision"] for each in found["precisions"]] == (
        ["fp32", "int8"] if bundle == "pretrain" else ["fp32"]
    )


@pytest.mark.parametrize("name", BUNDLES)
def test_the_code_of_a_model_card_prints_what_the_code_of_a_new_card_prints(name: str, place: Path) -> None:
    bundle = place / name
    shutil.copytree(HERE / "bundles" / name, bundle)
    for file, colour in (("picture", "red"), ("left", "blue"), ("right", "green")):
        Image.new("RGB", (20, 20), colour).save(bundle / f"{file}.png")
    (old,) = re.findall(r"^```python\n(.*?)^```$", (bundle / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    new = task_runtime(BundleFolder.open(bundle).task).usage()
    printed = [
        subprocess.run(
            [sys.executable, "-c", f"{code}\nif 'similarity' in globals(): print(similarity)"],
            capture_output=True,
            text=True,
            check=True,
            cwd=bundle,
            env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        ).stdout
        for code in (old, new)
    ]
    assert printed[0] == printed[1] != ""


# Training


INTERRUPTED = ("pretrain-interrupted", "vqa-interrupted")


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupted_run_is_finished_as_it_would_have_been(name: str, copied: Copied) -> None:
    run, expected = copied(name), recorded(f"{name}-finished")
    before = lines(run)
    assert cbalign("train", run).strip() == str(run)
    assert json.loads((run / "manifest.json").read_text())["status"] == "finished"

    found = lines(run)
    assert found[: len(before)] == before
    new = found[len(before) :]
    steps = [[(line["kind"], line["step"]) for line in some] for some in (new, expected["lines"])]
    assert steps[0] == steps[1]
    for line, wanted in zip(new, expected["lines"]):
        for key in wanted:
            if key.startswith(("loss", "lr", "validation/")):
                assert line[key] == pytest.approx(wanted[key], rel=1e-4), (line["step"], key)


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupted_run_ends_with_the_weights_it_would_have_had(name: str, copied: Copied) -> None:
    run, expected = copied(name), recorded(f"{name}-finished")["weights"]
    cbalign("train", run)
    found = read_weights(run)
    lacking = [old for old in expected if renamed(old) not in found]
    if len(lacking) == len(expected):
        pytest.skip("no tensor has a name that is known: say in RENAMED what they are called now")
    assert lacking == [], "say in RENAMED what they are called now"
    for old, wanted in expected.items():
        tensor = found[renamed(old)].astype(np.float64)
        assert list(tensor.shape) == wanted["shape"], old
        # Gradients of these are 0 but for rounding, and AdamW makes steps of full length of it.
        near = {"rel": 0.1, "abs": 0.1} if old.endswith("key.bias") else {"rel": 1e-4, "abs": 1e-3}
        assert np.linalg.norm(tensor) == pytest.approx(wanted["norm"], **near), old
        assert tensor.sum() == pytest.approx(wanted["sum"], **near), old


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def read_weights(run: Path) -> dict[str, np.ndarray]:
    """The tensors of the one checkpoint of a run; names that are tied to others included."""
    (checkpoint,) = (run / "checkpoints").glob("step-*")
    with safe_open(checkpoint / "model.safetensors", framework="np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        tied = json.loads((file.metadata() or {}).get("tied", "{}"))
    return found | {name: found[kept] for name, kept in tied.items()}


def renamed(name: str) -> str:
    for old, new in RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def test_a_finished_run_stays_as_it_is(copied: Copied) -> None:
    run = copied("retrieval")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert cbalign("train", run).strip() == str(run)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("spec", STARTS)
def test_a_new_training_starts_from_an_old_run(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBALIGN_PRETRAINED", str(original(STARTS[spec])))
    run = Path(cbalign("train", HERE / "specs" / f"{spec}.yaml", "--set", "train.duration=1 step").strip())
    (line,) = (line for line in lines(run) if line["kind"] == "train")
    if spec == "retrieval":  # in the others some weights are drawn anew
        assert line["loss"] == pytest.approx(recorded("first-steps")[spec], rel=1e-4)
    assert np.isfinite(line["loss"])
    lineage = json.loads((run / "manifest.json").read_text())["facts"]["lineage"]
    assert lineage[0]["name"] == original(STARTS[spec]).name


# Export


# The losses of vqa-interrupted say already that PyTorch computes with vqa's weights what it did.
@pytest.mark.parametrize("name", ["pretrain", "nlvr2", "entailment", pytest.param("vqa", marks=pytest.mark.slow)])
def test_an_old_run_is_exported_to_graphs_that_compute_the_same(name: str, copied: Copied) -> None:
    bundle = Path(cbalign("export", copied(name), "--output", f"exported/{name}", "--precision", "fp32").strip())
    assert_computes(bundle, name, "fp32")
    cbalign("verify", bundle, "--device", "cpu")


def assert_computes(bundle: Path, name: str, precision: str, atol: float = 1e-4) -> None:
    """The graphs of a bundle make of recorded inputs what they made of them in 0.1.0."""
    values = arrays(f"graphs-{name}-{precision}")
    graphs = {key.partition(".")[0] for key in values}
    assert {path.stem for path in (bundle / precision).glob("*.onnx")} == graphs
    for graph in graphs:
        path = bundle / precision / f"{graph}.onnx"
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        outputs = [port.name for port in session.get_outputs()]
        feed = {port.name: values[f"{graph}.{port.name}"] for port in session.get_inputs()}
        for output, found in zip(outputs, session.run(outputs, feed)):
            np.testing.assert_allclose(
                found, values[f"{graph}.{output}"], rtol=1e-4, atol=atol, err_msg=f"{name} {graph} {output}"
            )


# Comparison and lists


def test_an_old_run_differs_from_its_spec_in_nothing() -> None:
    cbalign("diff", HERE / "specs" / "pretrain.yaml", original("pretrain"))


def test_two_old_runs_are_compared(place: Path) -> None:
    one, other = original("pretrain"), original("retrieval")
    found = json.loads(cbalign("diff", one, other, "--json", code=1))["differences"]
    told = {each["path"]: each["effect"] for each in found}
    # Newer than 0.1.0, and a setting of only one of the two solvers, as `epsilon` is.
    assert told.pop("model.codebook.transport.first") == "training"
    assert told == recorded("diff-pretrain-retrieval")
    assert cbalign("diff", one, one) != ""


def test_two_old_bundles_are_compared() -> None:
    cbalign("diff", HERE / "bundles" / "entailment", HERE / "bundles" / "nlvr2", "--json", code=1)


def test_old_runs_are_listed(place: Path) -> None:
    shutil.copytree(HERE / "runs", place / "runs")
    found = json.loads(cbalign("runs", "list", "--json"))["runs"]
    assert {each["run"]: [each["status"], each["step"]] for each in found} == recorded("runs")
    assert [each["run"] for each in found] == list(recorded("runs")), "oldest first"
    cbalign("runs", "list", "--where", "model.joint_dim=8")
    cbalign("runs", "compare")


@pytest.mark.parametrize("name", NAMES)
def test_an_old_run_is_shown(name: str) -> None:
    run = original(name)
    shown = json.loads(cbalign("runs", "show", run.name, "--runs-dir", HERE / "runs", "--json"))
    assert shown["id"] == run.name.rpartition("-")[2]
    assert len(shown["attempts"]) == 1
    assert len(shown["checkpoints"]) == 1
    assert bool(shown["evaluations"]) == (name != "nlvr2-assignment")
    cbalign("runs", "show", run.name, "--runs-dir", HERE / "runs")


# Embeddings


def test_a_bundle_embeds_and_matches_as_pytorch_did() -> None:
    expected, values = arrays("embeddings"), arrays("graphs-pretrain-fp32")
    near = {"rtol": 1e-4, "atol": 1e-5}

    def compute(graph: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        path = HERE / "bundles" / "pretrain" / "fp32" / f"{graph}.onnx"
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [port.name for port in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs)))

    mask = values["text.attention_mask"]
    images = compute("image", pixels=expected["pixels"])
    texts = compute("text", input_ids=values["text.input_ids"], attention_mask=mask)
    np.testing.assert_allclose(images["embedding"], expected["image_embedding"], **near)
    np.testing.assert_allclose(images["tokens"], expected["image_tokens"], **near)
    np.testing.assert_allclose(texts["embedding"], expected["text_embedding"], **near)
    for side, embedding in (("image", images["embedding"]), ("text", texts["embedding"])):
        codes = compute("codebook", embedding=embedding)
        np.testing.assert_array_equal(codes["code"], expected[f"{side}_code"])
        np.testing.assert_allclose(codes["probabilities"], expected[f"{side}_code_probabilities"], **near)
    for index, row in enumerate(expected["match"]):
        which = np.full(len(row), index)
        scores = compute(
            "match",
            image_tokens=images["tokens"],
            text_tokens=texts["tokens"],
            attention_mask=mask,
            image_index=which,
        )
        np.testing.assert_allclose(scores["score"], row, **near)


@pytest.mark.parametrize("name", BUNDLES)
def test_the_graphs_of_a_bundle_compute_what_they_did(name: str) -> None:
    assert_computes(HERE / "bundles" / name, name, "fp32")


def skip_if_int8_differs_here() -> None:
    """Processors without the same instructions sum int8 products to other numbers, whatever cbalign does."""
    try:
        assert_computes(HERE / "bundles" / "pretrain", "pretrain", "int8", atol=1e-5)
    except AssertionError:
        pytest.skip("onnxruntime computes other numbers in int8 on this processor")


# PyTorch: the one test that needs more of the code than the command line.


@pytest.fixture
def model(copied: Copied) -> Any:
    """The old pretraining, as the library opens it."""
    if not hasattr(package, "load"):
        pytest.skip("cbalign.load is not there yet")
    return package.load(copied("pretrain"))


@pytest.mark.parametrize("as_images", [False, True], ids=["arrays", "images"])
def test_the_library_embeds_as_it_did(model: Any, as_images: bool) -> None:
    from PIL import Image

    expected = arrays("embeddings")
    pictures = list(expected["pictures"])
    images = model.encode_images([Image.fromarray(each) for each in pictures] if as_images else pictures)
    texts = model.encode_texts([str(text) for text in expected["texts"]])
    for found, wanted in ((images, expected["image_embedding"]), (texts, expected["text_embedding"])):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "manifest", sorted((HERE / "runs").glob("*/manifest.json")), ids=lambda path: path.parent.name[:20]
)
def test_the_fingerprint_of_a_spec_is_the_same(manifest):
    recorded = json.loads(manifest.read_text("utf-8"))["spec_fingerprint"]
    resolved = load_experiment(manifest.with_name("resolved.yaml"), check_files=False).experiment
    assert experiment_fingerprint(resolved) == recorded
