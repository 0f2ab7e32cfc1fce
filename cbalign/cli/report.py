"""`cbalign report`: draw the images that a model retrieves."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from cbalign.cli import completions, console
from cbalign.errors import UsageError


@click.command()
@click.argument("target", metavar="RUN|BUNDLE", type=click.Path(path_type=Path), shell_complete=completions.results)
@click.option("--on", default="test", show_default=True, metavar="SPLIT", help="train, validation or test of the spec.")
@click.option("--queries", default=8, show_default=True, type=click.IntRange(1, 100), help="Number of captions.")
@click.option("--top", default=6, show_default=True, type=click.IntRange(1, 20), help="Images per caption.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--output", default="gallery.png", show_default=True, type=click.Path(path_type=Path, dir_okay=False),
    help="Image file to write.",
)  # fmt: skip
def report(target: Path, on: str, queries: int, top: int, device: str, output: Path) -> None:
    """Draw captions and the images that a run or bundle retrieves for them, as a PNG or JPEG.

    The captions are spread evenly over the split, not cherry-picked. The caption's own image has a green frame if it is
    among the images shown, and its rank is printed next to it.
    """
    from PIL import Image

    from cbalign.apps.report.gallery import draw_gallery, find_images
    from cbalign.data.source import open_source
    from cbalign.parts.kinds import Split
    from cbalign.tasks.opened import open_model

    Image.init()
    if output.suffix.lower() not in Image.registered_extensions():
        raise UsageError(
            f"--output {output}: {output.suffix or 'no extension'!r} is not an image format", remedy="Use .png."
        )
    if on not in get_args(Split):
        raise UsageError(f"--on {on}: not a split", remedy=f"One of {', '.join(get_args(Split))}.")
    opened = open_model(target, device, warn=console.warn)
    section = getattr(opened.experiment.data, on)
    if section is None:
        raise UsageError(f"--on {on}: data.{on} is not set in the spec of {target}")
    source = open_source(section, "pairs")
    draw_gallery(find_images(opened.encoder, source, queries, top), source).save(output)
    console.result(str(output))
