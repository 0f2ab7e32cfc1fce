"""`cbalign benchmark`: how fast a bundle is here, beside PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign import __version__
from cbalign.cli import console, offers
from cbalign.cli.options import device_option, json_option, require_option
from cbalign.errors import UsageError

if TYPE_CHECKING:
    from cbalign.data.items import Pair
    from cbalign.data.source import Source
    from cbalign.lab.benchmark.measure import Effort
    from cbalign.lab.benchmark.result import Benchmark, Row
    from cbalign.lab.benchmark.subject import Subject
    from cbalign.runtime.bundle import BundleManifest
    from cbalign.runtime.placement import Device

_PACKAGES = ("onnxruntime-gpu", "onnxruntime", "torch", "timm", "numpy")
_RECALL_IMAGES = {"quick": 128, "thorough": 1000}


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path), shell_complete=offers.results)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    shell_complete=offers.results,
    help="The run of the bundle: PyTorch is measured beside it.",
)
@click.option("--precision", "precisions", multiple=True, help="Only these graphs. May be repeated.")
@device_option
@require_option
@click.option("--threads", type=click.IntRange(min=1), help="Of each computation on the CPU.  [default: all cores]")
@click.option(
    "--batch", "batches", multiple=True, type=click.IntRange(min=2), help="Batches beside 1. May be repeated."
)
@click.option("--rounds", type=click.IntRange(min=1), help="Turns of each at batch 1.  [default: 100, quick: 10]")
@click.option("--quick", is_flag=True, help="Few rounds, two batches, PyTorch not compiled.")
@click.option("--no-recall", is_flag=True, help="Leave out what is found; no data are read.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the JSON document to a file.")
@json_option
def benchmark(
    bundle: Path,
    run: Path | None,
    precisions: tuple[str, ...],
    device: str,
    require: str | None,
    threads: int | None,
    batches: tuple[int, ...],
    rounds: int | None,
    quick: bool,
    no_recall: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure BUNDLE: latency, throughput, memory, size on disk and recall of every precision.

    With --run the PyTorch model of that run is measured beside it: eager, compiled and under autocast. All take
    turns, so that other work on the machine slows all alike; ratios say more than times.
    """
    from dataclasses import replace

    from cbalign.engine.files import write_durably
    from cbalign.lab.benchmark.measure import QUICK, THOROUGH, measure
    from cbalign.lab.benchmark.subject import Subject
    from cbalign.runtime.bundle import Bundle
    from cbalign.runtime.machine import cores
    from cbalign.runtime.placement import find_device, package_conflict

    if (conflict := package_conflict()) is not None:
        console.note(f"warning: {conflict}")
    opened = Bundle.open(bundle).require_alignment()
    place = require or device
    found = find_device(place)
    gpu = None if found.kind == "cpu" else found
    effort = QUICK if quick else THOROUGH
    effort = replace(effort, rounds=rounds or effort.rounds, batches=tuple(sorted(set(batches))) or effort.batches)
    threads = threads or cores()
    chosen = precisions or opened.manifest.precisions
    for precision in chosen:
        opened.graph_path(precision, "image")
    subjects = _torch_subjects(run, opened.manifest, f"cuda:{gpu.index}" if gpu else "cpu", threads, quick) + [
        Subject("onnxruntime", precision, str(bundle), str(find_device(place, precision)), threads)
        for precision in chosen
    ]
    source = None if no_recall else _source(bundle, _RECALL_IMAGES["quick" if quick else "thorough"])
    rows = measure(subjects, bundle, effort, source=source, report=console.note)
    result = _result(opened.manifest, threads, effort, source, rows, gpu)
    if output is not None:
        write_durably(output, result.to_json().encode())
    if as_json:
        console.document(result.to_data())
        return
    if run is None:
        console.note("note: name the run with --run to see PyTorch beside it")
    console.result(_text(result))


def _torch_subjects(
    run: Path | None, manifest: BundleManifest, device: str, threads: int, quick: bool
) -> list[Subject]:
    """PyTorch's modes on the very checkpoint that the bundle was made from; none without a run."""
    if run is None:
        return []
    from cbalign.engine.run import open_run
    from cbalign.lab.benchmark.subject import TORCH_MODES, Subject

    opened = open_run(run)
    if opened.folder.name != manifest.run:
        raise UsageError(
            f"{run} is not the run of this bundle, which was exported from {manifest.run}",
            remedy="Name that run, or leave --run out.",
        )
    checkpoint = opened.checkpoints / f"step-{manifest.step}"
    if not checkpoint.is_dir():
        raise UsageError(
            f"{run} no longer has the checkpoint of step {manifest.step} that the bundle was exported from",
            remedy="Export the run again, or leave --run out.",
        )
    modes = [mode for mode in TORCH_MODES if not (quick and mode == "compiled")]
    return [Subject("torch", mode, str(run), device, threads, str(checkpoint)) for mode in modes]


def _source(bundle: Path, images: int) -> Source[Pair] | None:
    """The beginning of the pairs that the spec evaluates on, where they are here."""
    from cbalign.data.source import FirstItems, open_source
    from cbalign.errors import CbalignError
    from cbalign.experiment.load import load_experiment
    from cbalign.runtime.bundle import SPEC

    experiment = load_experiment(bundle / SPEC, check_files=False).experiment
    try:
        source = open_source(experiment.data.test or experiment.data.validation or experiment.data.train, "pairs")
        return FirstItems(source, images)
    except (CbalignError, ModuleNotFoundError) as error:
        console.note(f"note: no recall, the data are not here ({' '.join(str(error).split())})")
        return None


def _result(
    manifest: BundleManifest,
    threads: int,
    effort: Effort,
    source: Source[Pair] | None,
    rows: Sequence[Row],
    gpu: Device | None,
) -> Benchmark:
    import platform
    from datetime import UTC, datetime

    from cbalign.lab.benchmark.result import Benchmark
    from cbalign.runtime.machine import ask_gpus, cores, installed, processor

    machine: dict[str, str | int] = {
        "processor": processor(), "cores": cores(), "system": f"{platform.system()} {platform.machine()}",
    }  # fmt: skip
    if gpu is not None and (told := ask_gpus("name", "driver_version", gpu=gpu.index)):
        machine["gpu"], machine["driver"] = told[0]
    return Benchmark(
        bundle=manifest.name,
        spec_fingerprint=manifest.spec_fingerprint,
        opset=manifest.opset,
        threads=threads,
        rounds=effort.rounds,
        batch_rounds=effort.batch_rounds,
        recall_on=None if source is None else source.name,
        machine=machine,
        versions={"python": platform.python_version(), "cbalign": __version__, **installed(_PACKAGES)},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=tuple(rows),
    )


def _text(result: Benchmark) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    machine = result.machine
    blocks = [
        f"{result.bundle}: {machine['processor']}, {machine['cores']} cores, {machine['system']}"
        f"{f', {gpu}' if (gpu := machine.get('gpu')) else ''}; "
        f"{result.threads} threads\n{versions}",
        _speeds("image", "images embedded", result),
        _speeds("text", "texts embedded", result),
        _speeds("match", "texts matched with one image", result),
        _wholes(result),
    ]
    notes = [f"{row.subject}: {row.note}" for row in result.rows if row.note]
    return "\n\n".join([block for block in blocks if block] + notes)


def _speeds(part: str, title: str, result: Benchmark) -> str:
    rows = []
    for row in result.rows:
        if (timing := row.timings.get(part)) is None:
            continue
        one, best, ratio = timing.latency, timing.best, result.ratio(row, part)
        times = [f"{value:.1f}" for value in (one.p50, one.p90, one.p99)]
        rows.append([row.subject, *times, f"{best.per_second:.1f}", str(best.batch), f"{ratio or 1:.2f}"])
    if not rows:
        return ""
    header = ["", "p50 ms", "p90 ms", "p99 ms", "best per s", "at batch", "times the first"]
    return f"{title}, one at a time and at the best batch\n" + console.table(header, rows, right=range(1, 7))


def _wholes(result: Benchmark) -> str:
    on_gpu = any(row.peak_gpu_memory is not None for row in result.rows)
    rows = []
    for row in result.rows:
        if row.note:
            continue
        memory = [_megabytes(row.peak_memory)] + ([_megabytes(row.peak_gpu_memory)] if on_gpu else [])
        recall = [f"{value:.1f}" for value in row.recall.values()] if row.recall else ["–", "–"]
        rows.append([row.subject, row.device, *memory, f"{row.size / 1e6:,.1f}", *recall])
    title = "peak memory of a process of its own, weights on disk" + (
        f", R@1 of dual on {result.recall_on}" if result.recall_on else ""
    )
    gpu = ["GPU MB"] if on_gpu else []
    header = ["", "on", "memory MB", *gpu, "disk MB", "R@1 image → text", "R@1 text → image"]
    return f"{title}\n" + console.table(header, rows, right=range(2, len(header)))


def _megabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e6:,.0f}"
