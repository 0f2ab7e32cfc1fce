"""Compare the speed of a bundle at ViT-B size with PyTorch on this machine.

    python -m benchmarks.deployment                 (about 25 minutes on two idle cores)
    python -m benchmarks.deployment --quick --output quick.json         (about 6 minutes, not stored)
    python -m benchmarks.deployment --device cuda --batch 8 --batch 32 --batch 128
    python -m benchmarks.deployment --table         (measures nothing: writes the tables of stored results)

The model has the published size (ViT-B/16, BERT-base in 6 + 6 layers) and random weights, which make no difference to
speed. It has no codebook: with random weights the nearest code is arbitrary, and int8 would fail the parity check.
`cbalign export` exports it in float32 and int8, or float32 and float16 on a GPU, including the parity checks, and
`cbalign benchmark` measures it. The document is stored in benchmarks/results/, its ratios in docs/results.md. On a CPU,
exits with 1 if ONNX in float32 is slower than eager PyTorch, or int8 is less than 2.3 times as fast, for images at the
best batch size.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.chain import replace_between
from cbalign.data.source import open_source
from cbalign.data.vocabulary import build_tokenizer
from cbalign.engine.checkpoint import TrainingState, save_checkpoint
from cbalign.engine.optimizer import build_adamw
from cbalign.engine.run import RunFolder, create_run
from cbalign.engine.task import no_decay_for_vectors
from cbalign.experiment.dump import dump_yaml, experiment_fingerprint
from cbalign.experiment.export import Precision
from cbalign.experiment.load import load_experiment
from cbalign.exporting.bundle import export_run
from cbalign.tasks.kit import kit_of

RESULTS = Path(__file__).with_name("results")
DOCUMENT = Path("docs/results.md")
BEGIN, END = "<!-- deployment {} -->", "<!-- /deployment {} -->"
PRECISIONS: dict[str, tuple[Precision, ...]] = {"cpu": ("fp32", "int8"), "cuda": ("fp32", "fp16")}
BARS = {"cpu": {"onnxruntime fp32": 1.0, "onnxruntime int8": 2.3}, "cuda": {}}
PARTS = {"image": "images", "text": "texts", "match": "matching"}
PICTURES = 8
WORDS = ("red", "blue", "green", "dark", "light", "small", "large", "round", "square", "striped")
SPEC = """\
cbalign: 1
name: vit-b
model:
  vision: {architecture: vit_base_patch16_224, image_size: %d, init: random}
  text: {architecture: bert-base-uncased, layers: 6, init: random, tokenizer: captions, vocabulary: 200}
  fusion: {layers: 6}
  queue: {length: 64}
objectives: {codebook: {weight: 0}}
data: {train: {source: csv, files: [pairs.csv]}, validation: {source: csv, files: [pairs.csv]}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, action="append", help="batch size besides 1; may be repeated")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--quick", action="store_true", help="do not compile PyTorch's model")
    parser.add_argument("--device", choices=list(PRECISIONS), default="cpu")
    parser.add_argument(
        "--output", type=Path, help="default: benchmarks/results/, and write its table to docs/results.md"
    )
    parser.add_argument("--table", action="store_true", help="only write the tables of the stored results")
    options = parser.parse_args()
    if options.table:
        for device in PRECISIONS:
            write_table(device)
        return 0
    if options.output is None and (options.quick or options.threads or options.image_size != 224):
        parser.error("stored results use the default settings; with other settings, pass --output")
    output = (options.output or kept(options.device)).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run = make_run(folder, options.image_size)
        bundle = folder / "exports" / "vit-b"
        precisions = PRECISIONS[options.device]
        export_run(run.folder, bundle, precisions=precisions, report=lambda stage: print(stage, file=sys.stderr))
        words = ["benchmark", str(bundle), "--run", str(run.folder), "--rounds", str(options.rounds), "--no-recall"]
        words += ["--device", options.device, "--output", str(output)]
        words += [f"--batch={batch}" for batch in options.batch or []]
        words += [f"--threads={options.threads}"] if options.threads else []
        words += ["--quick"] if options.quick else []
        output.parent.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", "cbalign", *words], check=True)
    if options.output is None:
        write_table(options.device)
    rows = {row["subject"]: row for row in json.loads(output.read_text())["rows"]}
    bars = BARS[options.device]
    ratios = {name: rows[name]["timings"]["image"]["best"]["times_first_row"] for name in bars}
    for name, bar in bars.items():
        print(f"{name}: {ratios[name]:.2f} times eager PyTorch, at least {bar} is wanted")
    return int(any(ratios[name] < bar for name, bar in bars.items()))


def kept(device: str) -> Path:
    """Return the path of the results of a device."""
    return RESULTS / f"deployment-vit-b-{device}.json"


def write_table(device: str) -> None:
    """Write the ratios of the stored results into the documentation."""
    replace_between(DOCUMENT, BEGIN.format(device), END.format(device), table(json.loads(kept(device).read_text())))


def table(document: dict) -> str:
    """Return the speed of each variant relative to the first one, and its size."""
    first, *_ = document["rows"]
    on_gpu = any(row["peak_gpu_memory"] for row in document["rows"])
    header = ["", "one image", *PARTS.values(), "GPU MB" if on_gpu else "memory MB", "weights MB"]
    rows = [header, ["---"] * len(header)]
    for row in document["rows"]:
        if row["note"]:
            rows.append([row["subject"], row["note"], *[""] * (len(header) - 2)])
            continue
        alone = [each["timings"]["image"]["latency"]["p50_ms"] for each in (first, row)]
        best = [row["timings"][part]["best"] for part in PARTS]
        ratios = [f"{speed['times_first_row']:.2f} (at {speed['batch']})" for speed in best]
        memory = row["peak_gpu_memory"] if on_gpu else row["peak_memory"]
        sizes = ["–" if size is None else f"{size / 1e6:,.0f}" for size in (memory, row["size"])]
        rows.append([row["subject"], f"{alone[0] / alone[1]:.2f}", *ratios, *sizes])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def make_run(folder: Path, image_size: int) -> RunFolder:
    """Create a run of the experiment without any training step."""
    write_pairs(folder)
    (folder / "vit-b.yaml").write_text(SPEC % image_size)
    loaded = load_experiment(folder / "vit-b.yaml")
    experiment = loaded.experiment
    captions = [c for i in range(PICTURES) for c in open_source(experiment.data.train, "pairs").item(i).captions]
    tokenizer = build_tokenizer(experiment.model.text, lambda: captions)
    torch.manual_seed(0)
    model = kit_of(experiment).build_model(experiment, tokenizer.info, initialise=False)

    def fill(run: RunFolder) -> None:
        tokenizer.save(run.assets)
        decayed = no_decay_for_vectors(model.parameters(), experiment.train.optimizer.weight_decay)
        state = TrainingState(step=0, total_steps=0, steps_per_epoch=0, global_batch_size=0, samples_seen=0)
        save_checkpoint(run.checkpoints, state, model, build_adamw(decayed, experiment.train.optimizer), keep=1)

    resolved = dump_yaml(experiment)
    return create_run(
        folder / "runs",
        experiment.name,
        spec=resolved,
        resolved=resolved,
        fingerprint=experiment_fingerprint(experiment),
        facts={},
        fill=fill,
    )


def write_pairs(folder: Path) -> None:
    generator = np.random.default_rng(0)
    with open(folder / "pairs.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "caption"))
        for number in range(PICTURES):
            picture = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(picture).save(folder / f"{number}.png")
            rows.writerow((f"{number}.png", " ".join(generator.choice(WORDS, 1 + 2 * number))))


if __name__ == "__main__":
    sys.exit(main())
