"""Make what the tests beside this file read, with the version of cbalign that it is to be of.

    git worktree add /tmp/cbalign-0.1.0 b8002b6
    OMP_NUM_THREADS=1 PYTHONPATH=/tmp/cbalign-0.1.0 python tests/compatibility/make.py

Replaces the folders runs/, bundles/ and expected/ beside it. README.md says what is in them. Every command line runs in
this process; what they write goes through a folder of a neutral name, because runs and bundles hold absolute paths.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REVISION = "b8002b6"
HERE = Path(__file__).resolve().parent
PLACE = Path("/tmp/cbalign-compatibility")  # named by `init.run` in what is made; nothing is looked for there later
INTERRUPTED_AFTER = 3
SEEDS = {"vqa": 10, "entailment": 4, "nlvr2": 6}  # of `enlarge`: with others these models say the same of all items

# Manifests name the host that made them, and its kernel.
platform.node = lambda: "host"
platform.platform = lambda *_, **__: "Linux-x86_64"

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402

import cbalign  # noqa: E402
from cbalign.cli import main  # noqa: E402
from cbalign.data.answer_list import ANSWERS_FILE, read_answers  # noqa: E402
from cbalign.data.image import prepare  # noqa: E402
from cbalign.data.scenes.source import Scenes  # noqa: E402
from cbalign.data.text import Tokenizer  # noqa: E402
from cbalign.engine import loop  # noqa: E402
from cbalign.engine.checkpoint import read_model  # noqa: E402
from cbalign.tasks.load import load_model  # noqa: E402


def command(*words: object, code: int = 0) -> str:
    """Run `cbalign WORDS` in `PLACE` and give what it prints."""
    argv = ["cbalign", *map(str, words)]
    print("$", *argv, flush=True)
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = argv
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(argv[1:])
    except SystemExit as stop:
        if (stop.code or 0) != code:
            raise RuntimeError(f"exit code {stop.code} instead of {code}\n{err.getvalue()}") from None
    finally:
        sys.argv = before
    return out.getvalue()


@contextlib.contextmanager
def interrupted(after: int) -> Iterator[None]:
    """Send this process SIGTERM while it makes step `after`."""
    step = loop._Training._step

    def stepping(training: Any, batches: Any) -> None:
        if training.done + 1 == after:
            os.kill(os.getpid(), signal.SIGTERM)
        step(training, batches)

    loop._Training._step = stepping  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop._Training._step = step  # type: ignore[method-assign]


@contextlib.contextmanager
def spread() -> Iterator[None]:
    """Start trainings from weights as large as a trained model's, biases and norms included.

    After six steps from the usual start every text is nearly every other, and a weight in the wrong place would hardly
    be noticed. Teachers differ from students for the same reason. What `init` gave is changed by a little only.
    """
    resume = loop._Training.resume

    def resuming(training: Any) -> None:
        resume(training)
        if training.done == 0:
            enlarge(training.task.model)

    loop._Training.resume = resuming  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop._Training.resume = resume  # type: ignore[method-assign]


@torch.no_grad()
def enlarge(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(SEEDS.get(Path(sys.argv[-1]).stem.removesuffix("-interrupted"), 0))
    fresh = hasattr(model, "image_queue") and "CBALIGN_PRETRAINED" not in os.environ

    def noise(values: torch.Tensor) -> torch.Tensor:
        return torch.randn(values.shape, generator=generator)

    values = dict(model.named_parameters())
    for name, value in values.items():
        if name.startswith("teacher.") or "temperature" in name or "codebook" in name:
            continue
        if not fresh:
            value.add_(0.3 * noise(value))
        elif value.ndim < 2:
            value.add_(0.2 * noise(value))
        else:
            value.copy_(2.5 * noise(value) / value[0].numel() ** 0.5)
    for name, value in values.items():
        if name.startswith("teacher.network."):
            student = values[name.replace("teacher.network.", "student.")]
            value.copy_(student + 0.02 * noise(value))


def starting_from(start: Path | None) -> None:
    """Set what specs call `${env:CBALIGN_PRETRAINED}`."""
    os.environ.pop("CBALIGN_PRETRAINED", None)
    if start is not None:
        os.environ["CBALIGN_PRETRAINED"] = str(PLACE / start)


def train(name: str, start: Path | None = None) -> Path:
    """Train a spec of specs/, and give its run, relative to `PLACE`."""
    starting_from(start)
    with spread():
        return Path(command("train", f"specs/{name}.yaml").strip())


def train_in_part(name: str, start: Path | None = None) -> Path:
    """The same, stopped after half of its steps."""
    starting_from(start)
    with spread(), interrupted(INTERRUPTED_AFTER):
        command("train", f"specs/{name}.yaml", code=75)
    return next(Path("runs").glob(f"{name}-2*"))


def finished(run: Path) -> dict[str, Any]:
    """What going on with a copy of a run comes to: its further lines, and its weights in short."""
    copy = Path("copies") / run.name
    shutil.copytree(run, copy)
    before = (copy / "metrics.jsonl").read_text().splitlines()
    command("train", copy)
    lines = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    (checkpoint,) = (copy / "checkpoints").glob("step-*")
    weights = {name: tensor.double() for name, tensor in sorted(read_model(checkpoint).items())}
    return {
        "after": INTERRUPTED_AFTER,
        "lines": lines[len(before) :],
        "weights": {
            name: {"shape": list(tensor.shape), "sum": tensor.sum().item(), "norm": tensor.norm().item()}
            for name, tensor in weights.items()
        },
    }


def embeddings(run: Path) -> dict[str, np.ndarray]:
    """What PyTorch makes of the first four scenes of the test split and a caption of each."""
    encoder = load_model(run)
    scenes = Scenes("test", 4, render_size=32, seed=0)
    pictures = [scenes.load(index) for index in range(4)]
    texts = [scenes.entry(index).captions[0] for index in range(4)]
    pixels = np.stack([prepare(picture, encoder.image_size) for picture in pictures])
    images, captions = encoder.encode_images(pixels), encoder.encode_texts(texts)
    every_image, every_text = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    tiled = type(captions)(*(getattr(captions, f)[every_text.ravel()] for f in captions.__dataclass_fields__))
    scores = encoder.match(images, tiled, every_image.ravel())
    found = {
        "pictures": np.stack([np.asarray(picture) for picture in pictures]),  # as they are drawn
        "pixels": pixels,  # resized as the model takes them
        "texts": np.array(texts),
        "image_tokens": images.tokens,
        "image_embedding": images.embedding,
        "text_tokens": captions.tokens,
        "text_embedding": captions.embedding,
        "match": scores.reshape(4, 4),  # of image i with text j
    }
    for side in ("image", "text"):
        codes = encoder.assign(found[f"{side}_embedding"])
        found |= {f"{side}_code": codes.code, f"{side}_code_probabilities": codes.probabilities}
        found |= {f"{side}_code_prototype": codes.prototype}
    return found


def graphs(bundle: Path, precision: str, run: Path) -> dict[str, np.ndarray]:
    """Inputs and outputs of every graph of a bundle, by onnxruntime alone; named `graph.port`."""
    scenes = Scenes("test", 4, render_size=32, seed=0)
    pixels = np.stack([prepare(scenes.load(index), 16) for index in range(4)])
    tokenizer = Tokenizer.load(bundle)
    tokens = tokenizer.encode([scenes.entry(index).captions[0] for index in range(4)])
    texts = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    index = np.array([0, 1, 2, 3])
    recorded: dict[str, np.ndarray] = {}

    def compute(graph: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        session = onnxruntime.InferenceSession(bundle / precision / f"{graph}.onnx", providers=["CPUExecutionProvider"])
        names = [port.name for port in session.get_outputs()]
        outputs = dict(zip(names, session.run(names, inputs)))
        for name, values in (inputs | outputs).items():
            recorded[f"{graph}.{name}"] = values
        return outputs

    has = {path.stem for path in (bundle / precision).glob("*.onnx")}
    if "classify" in has:
        count = 2 if bundle.name == "nlvr2" else 1
        shown = np.stack([pixels[[(i + k) % 4 for k in range(count)]] for i in range(4)])
        compute("classify", pixels=shown, **texts)
    elif "answer" in has:
        image = compute("vision", pixels=pixels)["image_tokens"]
        question = compute("question", image_tokens=image, **texts, image_index=index)["question_tokens"]
        answers = read_answers(run / "assets" / ANSWERS_FILE)[:4]
        ids = tokenizer.encode(answers).input_ids
        mask = tokens.attention_mask
        compute("answer", question_tokens=question, question_mask=mask, answer_ids=ids, question_index=index)
    else:
        image, text = compute("image", pixels=pixels), compute("text", **texts)
        compute("codebook", embedding=image["embedding"])
        mask = tokens.attention_mask
        compute(
            "match", image_tokens=image["tokens"], text_tokens=text["tokens"], attention_mask=mask, image_index=index
        )
    return recorded


def write_json(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def evaluate(target: Path, *words: str, name: str) -> None:
    found = json.loads(command("evaluate", target, "--device", "cpu", "--json", *words))
    write_json(Path("expected/evaluations") / f"{name}.json", {"words": words, "results": found["results"]})


def make() -> None:
    pretrain = train("pretrain")
    runs = {
        "pretrain": pretrain,
        "pretrain-interrupted": train_in_part("pretrain-interrupted"),
        "albef": train("albef"),
        "retrieval": train("retrieval", pretrain),
        "vqa": train("vqa", pretrain),
        "vqa-interrupted": train_in_part("vqa-interrupted", pretrain),
        "entailment": train("entailment", pretrain),
        "nlvr2-assignment": (assignment := train("nlvr2-assignment", pretrain)),
        "nlvr2": train("nlvr2", assignment),
    }
    for name, run in runs.items():
        if name != "nlvr2-assignment":  # nothing is measured of it
            evaluate(run, name=f"run-{name}")
    evaluate(pretrain, "--on", "test", name="run-pretrain-test")
    for name in ("pretrain-interrupted", "vqa-interrupted"):
        write_json(Path("expected") / f"{name}-finished.json", finished(runs[name]))
    np.savez_compressed("expected/embeddings.npz", **embeddings(pretrain))

    for name in ("pretrain", "vqa", "nlvr2", "entailment"):
        precisions = ("fp32", "int8") if name == "pretrain" else ("fp32",)
        bundle = Path("bundles") / name
        command("export", runs[name], "--output", bundle, *(f"--precision={each}" for each in precisions))
        for precision in precisions:
            evaluate(bundle, "--precision", precision, name=f"bundle-{name}-{precision}")
            np.savez_compressed(f"expected/graphs-{name}-{precision}.npz", **graphs(bundle, precision, runs[name]))

    write_json(Path("expected/first-steps.json"), first_steps(runs))
    listed = json.loads(command("runs", "list", "--json"))["runs"]
    write_json(Path("expected/runs.json"), {each["run"]: [each["status"], each["step"]] for each in listed})
    differing = json.loads(command("diff", pretrain, runs["retrieval"], "--json", code=1))["differences"]
    write_json(Path("expected/diff-pretrain-retrieval.json"), {each["path"]: each["effect"] for each in differing})


def first_steps(runs: dict[str, Path]) -> dict[str, float]:
    """The loss of the first step of each spec that starts from a run, just as `init` gives it."""
    losses = {}
    for name in ("retrieval", "vqa", "entailment", "nlvr2-assignment", "nlvr2"):
        starting_from(runs["nlvr2-assignment" if name == "nlvr2" else "pretrain"])
        words = ("--set", "train.duration=1 step", "--runs-dir", "short")
        run = Path(command("train", f"specs/{name}.yaml", *words).strip())
        losses[name] = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["loss"]
    return losses


def tidy() -> None:
    """Leave out what nothing reads, or what names this machine."""
    for run in Path("runs").glob("*-2*"):
        shutil.rmtree(run / "tensorboard")  # its files are named after the host
        (run / ".lock").unlink()
        if "interrupted" not in run.name and not run.name.startswith("pretrain-"):
            for path in run.glob("checkpoints/*/optimizer.pt"):
                path.unlink()


def run() -> None:
    code = Path(cbalign.__file__).parent
    head = subprocess.run(["git", "-C", str(code), "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    if not head.startswith(REVISION):
        sys.exit(f"{code} is not cbalign of {REVISION}: put a checkout of that into PYTHONPATH")
    torch.set_num_threads(1)
    shutil.rmtree(PLACE, ignore_errors=True)
    shutil.copytree(HERE / "specs", PLACE / "specs")
    os.chdir(PLACE)
    Path("expected").mkdir()
    make()
    tidy()
    for name in ("runs", "bundles", "expected"):
        shutil.rmtree(HERE / name, ignore_errors=True)
        shutil.copytree(PLACE / name, HERE / name)


if __name__ == "__main__":
    run()
