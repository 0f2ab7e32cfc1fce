"""`cbalign benchmark`: measure a bundle on this machine, optionally compared with PyTorch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign import __version__
from cbalign.cli import completions, console
from cbalign.cli.options import device_option, json_option, require_option
from cbalign.errors import UsageError

if TYPE_CHECKING:
    from cbalign.data.items import Pair
    from cbalign.data.source import Source
    from cbalign.lab.benchmark.measure import Effort
    from cbalign.lab.benchmark.result import Benchmark, BenchmarkRow
    from cbalign.lab.benchmark.target import BenchmarkTarget
    from cbalign.runtime.bundle import BundleManifest
    from cbalign.runtime.placement import Device

_PACKAGES = ("onnxruntime-gpu", "onnxruntime", "torch", "timm", "numpy")
_RECALL_IMAGES = {"quick": 128, "thorough": 1000}


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path), shell_complete=completions.results)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    shell_complete=completions.results,
    help="The run that the bundle was exported from, to compare with PyTorch.",
)
@click.option("--precision", "precisions", multiple=True, help="Measure only this precision. May be repeated.")
@device_option
@require_option
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads per computation.  [default: all cores]")
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=click.IntRange(min=2),
    help="Batch size to measure in addition to 1. May be repeated.",
)
@click.option("--rounds", type=click.IntRange(min=1), help="Repetitions at batch 1.  [default: 100, quick: 10]")
@click.option("--quick", is_flag=True, help="Fewer repetitions, two batch sizes, no compiled PyTorch.")
@click.option("--no-recall", is_flag=True, help="Skip recall; no data are read.")
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

    --run also measures the PyTorch model of that run: eager, compiled and with autocast. Measurements are interleaved,
    so that slow moments of the machine affect all of them. Other programs still distort ratios between targets that use
    different numbers of threads: a busy machine is reported, and relative speeds whose times vary too much are not
    shown.
    """
    from dataclasses import replace

    from cbalign.engine.files import write_durably
    from cbalign.lab.benchmark.measure import QUICK, THOROUGH, measure
    from cbalign.lab.benchmark.target import BenchmarkTarget
    from cbalign.runtime.bundle import BundleFolder
    from cbalign.runtime.machine import cores
    from cbalign.runtime.placement import find_device, package_conflict

    if (conflict := package_conflict()) is not None:
        console.note(f"warning: {conflict}")
    opened = BundleFolder.open(bundle).require_alignment()
    place = require or device
    found = find_device(place)
    gpu = None if found.kind == "cpu" else found
    effort = QUICK if quick else THOROUGH
    effort = replace(effort, rounds=rounds or effort.rounds, batches=tuple(sorted(set(batches))) or effort.batches)
    threads = threads or cores()
    chosen = precisions or opened.manifest.precisions
    for precision in chosen:
        opened.graph_path(precision, "image")
    targets = _torch_targets(run, opened.manifest, f"cuda:{gpu.index}" if gpu else "cpu", threads, quick) + [
        BenchmarkTarget("onnxruntime", precision, str(bundle), str(find_device(place, precision)), threads)
        for precision in chosen
    ]
    source = None if no_recall else _source(bundle, _RECALL_IMAGES["quick" if quick else "thorough"])
    load = _load_average()
    rows = measure(targets, bundle, effort, source=source, report=console.note)
    result = replace(_result(opened.manifest, threads, effort, source, rows, gpu), load=load)
    if output is not None:
        write_durably(output, result.to_json().encode())
    if as_json:
        console.document(result.to_data())
        return
    if run is None:
        console.note("note: add --run RUN to compare with PyTorch")
    from cbalign.render.benchmark import benchmark_blocks

    console.blocks(*benchmark_blocks(result))


def _load_average() -> float | None:
    """Return the load of the machine over the last minute, where the system knows it."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def _torch_targets(
    run: Path | None, manifest: BundleManifest, device: str, threads: int, quick: bool
) -> list[BenchmarkTarget]:
    """List PyTorch's modes on the checkpoint that the bundle was exported from; none without a run."""
    if run is None:
        return []
    from cbalign.engine.run import open_run
    from cbalign.lab.benchmark.target import TORCH_MODES, BenchmarkTarget

    opened = open_run(run)
    if opened.folder.name != manifest.run:
        raise UsageError(
            f"{run} is not the run of this bundle, which was exported from {manifest.run}",
            remedy="Use that run, or omit --run.",
        )
    checkpoint = opened.checkpoints / f"step-{manifest.step}"
    if not checkpoint.is_dir():
        raise UsageError(
            f"{run} no longer has the checkpoint of step {manifest.step}, from which the bundle was exported",
            remedy="Export the run again, or omit --run.",
        )
    modes = [mode for mode in TORCH_MODES if not (quick and mode == "compiled")]
    return [BenchmarkTarget("torch", mode, str(run), device, threads, str(checkpoint)) for mode in modes]


def _source(bundle: Path, images: int) -> Source[Pair] | None:
    """Open the first pairs of the spec's evaluation data; `None` if the data are missing."""
    from cbalign.data.source import open_source
    from cbalign.data.wrapped_source import FirstItems
    from cbalign.errors import CbalignError
    from cbalign.runtime.bundle import BundleFolder

    experiment = BundleFolder.open(bundle).loaded.experiment
    try:
        source = open_source(experiment.data.test or experiment.data.validation or experiment.data.train, "pairs")
        return FirstItems(source, images)
    except (CbalignError, ModuleNotFoundError) as error:
        console.note(f"note: recall is not measured, the data are missing ({' '.join(str(error).split())})")
        return None


def _result(
    manifest: BundleManifest,
    threads: int,
    effort: Effort,
    source: Source[Pair] | None,
    rows: Sequence[BenchmarkRow],
    gpu: Device | None,
) -> Benchmark:
    import platform
    from datetime import UTC, datetime

    from cbalign.lab.benchmark.result import Benchmark
    from cbalign.runtime.machine import ask_gpus, cores, installed, processor

    machine: dict[str, str | int] = {
        "processor": processor(), "cores": cores(), "system": f"{platform.system()} {platform.machine()}",
    }  # fmt: skip
    if gpu is not None and (found_gpus := ask_gpus("name", "driver_version", gpu=gpu.index)):
        machine["gpu"], machine["driver"] = found_gpus[0]
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
