"""Run a benchmark: time all targets in turns, then measure their memory and recall."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cbalign.data.items import Pair
from cbalign.data.source import Source
from cbalign.encoders import Encoder, ImageFeatures, TextFeatures
from cbalign.errors import CbalignError
from cbalign.evaluation.retrieval import RetrievalEvaluator
from cbalign.evaluation.sections.evaluations import RetrievalEvaluation
from cbalign.lab.benchmark.inputs import Inputs
from cbalign.lab.benchmark.memory import peak_memory
from cbalign.lab.benchmark.result import BenchmarkRow, Timing
from cbalign.lab.benchmark.target import BenchmarkTarget, open_all
from cbalign.lab.benchmark.timing import Speed, interleaved

Report = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """Number of rounds at batch 1 and at each larger batch."""

    rounds: int
    batch_rounds: int
    batches: tuple[int, ...]


QUICK = Effort(rounds=10, batch_rounds=5, batches=(2, 8))
THOROUGH = Effort(rounds=100, batch_rounds=10, batches=(2, 8, 32))


def measure(
    targets: Sequence[BenchmarkTarget],
    bundle: Path,
    effort: Effort,
    *,
    source: Source[Pair] | None = None,
    report: Report = lambda stage: None,
) -> tuple[BenchmarkRow, ...]:
    """Measure targets side by side; the row of a target that cannot run states the reason.

    Args:
        targets: targets to measure; the first is the baseline.
        bundle: bundle that provides the inputs.
        effort: number of rounds, and batch sizes.
        source: images and captions for the recall; None skips it.
        report: progress callback.

    Raises:
        BundleError: the bundle is damaged.
    """
    inputs = Inputs.of(bundle, max(1, *effort.batches))
    encoders, notes = _open(targets, inputs.first(1), report)
    timings: dict[str, dict[str, Timing]] = {name: {} for name in encoders}
    for part in ("image", "text", "match"):
        able = {name: encoder for name, encoder in encoders.items() if part != "match" or encoder.has_matcher}
        if not able:
            continue
        report(f"timing {part}")
        for name, timing in _time(part, able, inputs, effort).items():
            timings[name][part] = timing
    rows = []
    for target in targets:
        if target.name in notes:
            rows.append(
                BenchmarkRow(target.name, target.device, {}, None, None, target.size(), None, notes[target.name])
            )
            continue
        report(f"memory and recall of {target.name}")
        best = timings[target.name]["image"].best.batch
        recall = None if source is None else _recall(encoders[target.name], source)
        memory = peak_memory(target, best, bundle)
        taken = (memory.resident, memory.gpu, target.size())
        rows.append(BenchmarkRow(target.name, target.device, timings[target.name], *taken, recall, None))
    return tuple(rows)


def _open(targets: Sequence[BenchmarkTarget], one: Inputs, report: Report) -> tuple[dict[str, Encoder], dict[str, str]]:
    """Return the encoders that run, and the reasons why the others do not, by name."""
    encoders: dict[str, Encoder] = {}
    notes: dict[str, str] = {}
    for target, encoder in zip(targets, open_all(targets), strict=True):
        report(f"warming up {target.name}")
        try:
            images, texts = encoder.encode_images(one.pixels), encoder.encode_texts(one.texts)
            if encoder.has_matcher:
                encoder.match(images, texts, np.zeros(1, np.int64))
        except CbalignError:
            raise
        except Exception as error:  # raised by a missing or outdated compiler, or one that fails on the model
            notes[target.name] = f"does not run here: {' '.join(str(error).split())[:200]}"
            continue
        encoders[target.name] = encoder
    return encoders, notes


def _time(part: str, encoders: Mapping[str, Encoder], inputs: Inputs, effort: Effort) -> dict[str, Timing]:
    one = interleaved(_calls(part, encoders, inputs.first(1)), effort.rounds)
    speeds = {name: [Speed.of(1, seconds)] for name, seconds in one.items()}
    for batch in effort.batches:
        many = interleaved(_calls(part, encoders, inputs.first(batch)), effort.batch_rounds, warmup=1)
        for name, seconds in many.items():
            speeds[name].append(Speed.of(batch, seconds))
    return {
        name: Timing(found[0], max(found, key=lambda speed: speed.per_second), tuple(found))
        for name, found in speeds.items()
    }


def _calls(part: str, encoders: Mapping[str, Encoder], inputs: Inputs) -> dict[str, Callable[[], object]]:
    """Return the timed calls: embed images or texts, or match texts with one image."""
    if part == "image":
        return {name: lambda e=encoder: e.embed_images(inputs.pixels) for name, encoder in encoders.items()}  # type: ignore[misc]
    if part == "text":
        return {name: lambda e=encoder: e.embed_texts(inputs.texts) for name, encoder in encoders.items()}  # type: ignore[misc]
    index = np.zeros(len(inputs.texts), np.int64)

    def matching(encoder: Encoder) -> Callable[[], object]:
        images: ImageFeatures = encoder.encode_images(inputs.pixels[:1])
        texts: TextFeatures = encoder.encode_texts(inputs.texts)
        return lambda: encoder.match(images, texts, index)

    return {name: matching(encoder) for name, encoder in encoders.items()}


def _recall(encoder: Encoder, source: Source[Pair]) -> dict[str, float]:
    section = RetrievalEvaluation(protocols=("dual",), bootstrap=0)
    (result,) = RetrievalEvaluator(section).evaluate(encoder, source, corrupt_limit=1.0)
    return {
        "image_to_text_r1": result.image_to_text.metrics.r1,
        "text_to_image_r1": result.text_to_image.metrics.r1,
    }
