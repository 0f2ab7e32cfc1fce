"""`cbalign data`: check, describe and pack the data of a spec."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import console
from cbalign.cli.options import json_option, profile_option, set_option, spec_argument
from cbalign.errors import DataError, UsageError
from cbalign.render.data import check_blocks, stats_blocks

if TYPE_CHECKING:
    from cbalign.data.caption_length import CaptionRuler
    from cbalign.data.items import Item
    from cbalign.data.source import Source
    from cbalign.experiment.experiment import Experiment
    from cbalign.parts import SourceSection

_SPLITS = ("train", "validation", "test")
_CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

split_option = click.option(
    "--split", "splits", multiple=True, type=click.Choice(_SPLITS), help="Read only this split. May be repeated."
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=_CPUS,
    show_default="one per CPU",
    help="Processes that read images; 0 reads in the main process.",
)


@click.group()
def data() -> None:
    """Check, describe and pack the images and texts of a spec."""


@data.command()
@spec_argument
@set_option
@profile_option
@split_option
@workers_option
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    spec: str,
    overrides: tuple[str, ...],
    profiles: tuple[str, ...],
    splits: tuple[str, ...],
    workers: int,
    as_json: bool,
) -> None:
    """Open every image of every split of SPEC and report missing, corrupt and duplicate images.

    Images are compared by their pixels: `duplicates` have the same pixels under different names, `shared` images occur
    in two splits. Exits with 1 when more images are unreadable than data.corrupt_limit allows, or when train contains
    images of validation or test; with 3 when a list cannot be read. Empty or long captions, duplicates within a split
    and images shared by validation and test are reported, but are not a failure.
    """
    from cbalign.data.check import check_data

    experiment, sources = _open(spec, overrides, profiles, splits)
    with console.progress() as report:
        findings = check_data(
            sources,
            _ruler(experiment, sources),
            corrupt_limit=experiment.data.corrupt_limit,
            workers=workers,
            report=report,
        )
    if as_json:
        document = {"splits": {split: asdict(one) for split, one in findings.splits.items()}}
        shared = [asdict(one) for one in findings.shared]
        problems = list(findings.problems)
        console.document({"ok": not problems, "problems": problems, **document, "shared": shared})
    else:
        console.blocks(*check_blocks(findings, experiment.model.text, experiment.task))
    ctx.exit(1 if findings.problems else 0)


@data.command()
@spec_argument
@set_option
@profile_option
@split_option
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    default=10_000,
    show_default=True,
    help="Images of each split whose size is measured, spread evenly; 0 measures all.",
)
@workers_option
@json_option
def stats(
    spec: str,
    overrides: tuple[str, ...],
    profiles: tuple[str, ...],
    splits: tuple[str, ...],
    sample: int,
    workers: int,
    as_json: bool,
) -> None:
    """Report statistics of the data of SPEC: caption lengths, image sizes and vocabulary.

    Lengths are measured before truncation to max_words and max_tokens. Tokens are counted if the spec's tokenizer is
    available on this machine.
    """
    from cbalign.data.stats import describe_data

    experiment, sources = _open(spec, overrides, profiles, splits)
    with console.progress() as report:
        found = describe_data(
            sources,
            _ruler(experiment, sources),
            image_size=experiment.model.vision.image_size,
            sample=sample,
            workers=workers,
            report=report,
        )
    if as_json:
        console.document({"splits": {split: asdict(one) for split, one in found.items()}})
    else:
        console.blocks(*stats_blocks(found, experiment.model.vision.image_size, experiment.task))


@data.command()
@spec_argument
@set_option
@profile_option
@click.option("--split", required=True, type=click.Choice(_SPLITS), help="Split to pack.")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="New folder for the shards."
)
@click.option(
    "--shard-samples", type=click.IntRange(min=1), default=10_000, show_default=True, help="Maximum samples per shard."
)
@click.option(
    "--shard-megabytes", type=click.IntRange(min=1), default=1_000, show_default=True, help="Maximum size of a shard."
)
@click.option(
    "--longest-side", type=click.IntRange(min=1), metavar="PIXELS", help="Scale larger images down to this size."
)
@click.option("--quality", type=click.IntRange(1, 100), help="JPEG quality of scaled images.  [default: 95]")
@workers_option
@json_option
def pack(
    spec: str,
    overrides: tuple[str, ...],
    profiles: tuple[str, ...],
    split: str,
    output: Path,
    shard_samples: int,
    shard_megabytes: int,
    longest_side: int | None,
    quality: int | None,
    workers: int,
    as_json: bool,
) -> None:
    """Write one split of SPEC as webdataset shards that contain the same pairs in the same order.

    Consecutive captions of one image share a sample, so that the image is stored once. The same data produce identical
    files. The folder appears with a manifest.json once everything is written; an interrupted command leaves nothing
    behind. Unreadable images are skipped, up to data.corrupt_limit.
    """
    from cbalign.data.pack import MANIFEST, Scaling, ShardLimits
    from cbalign.data.pack import pack as write
    from cbalign.data.source import open_source
    from cbalign.engine.files import new_folder

    if quality is not None and longest_side is None:
        raise UsageError("--quality applies only to scaled images", remedy="Add --longest-side.")
    if output.exists():
        raise UsageError(f"--output {output}: already exists", remedy="Choose a new folder, or remove this one first.")
    experiment = _load(spec, overrides, profiles)
    with _naming(split):
        source = open_source(_section(experiment, split, spec), "pairs")
    with new_folder(output) as folder, console.progress() as report:
        packed = write(
            source,
            folder,
            limits=ShardLimits(shard_samples, shard_megabytes * 1_000_000),
            scaling=Scaling(longest_side) if quality is None else Scaling(longest_side, quality),
            corrupt_limit=experiment.data.corrupt_limit,
            workers=workers,
            report=report,
        )
    if packed.skipped:
        console.note(f"{len(packed.skipped):,} images could not be read and were skipped; see {output / MANIFEST}")
    if as_json:
        console.document({"folder": str(output), **packed.to_json()})
        return
    size = sum(shard.bytes for shard in packed.shards) / 1_000_000
    shards = "1 shard" if len(packed.shards) == 1 else f"{len(packed.shards):,} shards"
    written = f"{packed.pairs:,} pairs in {packed.samples:,} samples in {shards}"
    console.note(f"{written}, {size:,.1f} MB; add this to a spec, under data:")
    pattern = json.dumps(str(output / packed.pattern), ensure_ascii=False)
    console.result(f"{split}: {{source: webdataset, shards: [{pattern}]}}")


def _open(
    spec: str, overrides: Sequence[str], profiles: Sequence[str], splits: Sequence[str]
) -> tuple[Experiment, dict[str, Source[Item]]]:
    """Open the experiment and the sources of the requested splits, or of all its splits.

    Raises:
        UsageError: the spec lacks a requested split.
        DataError: a list cannot be read; the message names the split.
    """
    from cbalign.data.source import open_source

    experiment = _load(spec, overrides, profiles)
    sources: dict[str, Source[Item]] = {}
    for split in splits or _SPLITS:
        if splits or getattr(experiment.data, split) is not None:
            with _naming(split):
                sources[split] = open_source(_section(experiment, split, spec), experiment.task.items)
    return experiment, sources


def _load(spec: str, overrides: Sequence[str], profiles: Sequence[str]) -> Experiment:
    from cbalign.experiment.load import load_experiment

    return load_experiment(spec, overrides, profiles=profiles, check_files=False).experiment


def _section(experiment: Experiment, split: str, spec: str) -> SourceSection:
    section: SourceSection | None = getattr(experiment.data, split)
    if section is None:
        raise UsageError(f"--split {split}: data.{split} is not set in {spec}")
    return section


@contextmanager
def _naming(split: str) -> Iterator[None]:
    """Put the name of a split before the message of an error in its data."""
    try:
        yield
    except DataError as error:
        raise DataError(f"data.{split}: {error.message}", remedy=error.remedy) from error


def _ruler(experiment: Experiment, sources: Mapping[str, Source[Item]]) -> CaptionRuler:
    """Measure captions with the spec's tokenizer, or in words only when it is not available."""
    from cbalign.data.caption_length import CaptionRuler
    from cbalign.data.source import texts_of
    from cbalign.data.vocabulary import text_settings, tokenizer_at_hand

    section = experiment.model.text
    tokenizer = None
    if not section.trains_vocabulary or "train" in sources:
        tokenizer = tokenizer_at_hand(section, lambda: texts_of(sources["train"]))
    if tokenizer is None:
        console.note("tokens are not counted: the spec's tokenizer is not available")
    return CaptionRuler(text_settings(section), tokenizer)
