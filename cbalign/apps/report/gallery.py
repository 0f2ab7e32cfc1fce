"""Draw retrieval results: held-out captions and the images that a model finds for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cbalign.data.arrays import IntArray
from cbalign.data.image import prepare
from cbalign.data.items import Pair
from cbalign.data.source import Source, gallery
from cbalign.encoders import Encoder

TILE, GAP, TEXT_WIDTH = 72, 8, 250
INK, FOUND, PAPER = (30, 30, 30), (34, 139, 64), (255, 255, 255)
BATCH = 64


@dataclass(frozen=True)
class Finding:
    """The images found for one caption, best first."""

    caption: str
    images: IntArray  # (top,) positions in the gallery
    rank: int  # of the caption's own image, from 1


def find_images(encoder: Encoder, source: Source[Pair], queries: int, top: int) -> list[Finding]:
    """Retrieve images for captions spread evenly over the source, by cosine similarity.

    Args:
        encoder: the model.
        source: the image-text pairs.
        queries: number of captions.
        top: number of images per caption.
    """
    shown = gallery(source)
    pixels = np.stack([prepare(source.images(i)[0], encoder.preprocessing) for i in shown.image_entries])
    images = np.concatenate([encoder.embed_images(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)])
    chosen = np.linspace(0, len(shown.captions) - 1, min(queries, len(shown.captions))).round().astype(int)
    captions = [shown.captions[i] for i in chosen]
    scores = encoder.embed_texts(captions) @ images.T  # (queries, images)
    findings = []
    for caption, row, own in zip(captions, scores, shown.caption_image[chosen], strict=True):
        order = np.argsort(-row, kind="stable")
        findings.append(Finding(caption, order[:top], int((row >= row[own]).sum())))
    return findings


def draw_gallery(findings: Sequence[Finding], source: Source[Pair]) -> Image.Image:
    """Draw one row per caption, with the correct image framed."""
    shown = gallery(source)
    width = TEXT_WIDTH + len(findings[0].images) * (TILE + GAP) + GAP
    sheet = Image.new("RGB", (width, len(findings) * (TILE + GAP) + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(15), ImageFont.load_default(11)
    for number, finding in enumerate(findings):
        y = GAP + number * (TILE + GAP)
        pen.text((GAP, y + TILE // 2 - 18), _fit(finding.caption, font, pen), INK, font)
        pen.text((GAP, y + TILE // 2 + 4), f"correct image: rank {finding.rank}", (120, 120, 120), small)
        for place, image in enumerate(finding.images):
            x = TEXT_WIDTH + place * (TILE + GAP)
            sheet.paste(source.images(int(shown.image_entries[image]))[0].resize((TILE, TILE)), (x, y))
            if place + 1 == finding.rank:
                pen.rectangle((x - 2, y - 2, x + TILE + 1, y + TILE + 1), outline=FOUND, width=3)
    return sheet


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, pen: ImageDraw.ImageDraw) -> str:
    room = TEXT_WIDTH - 2 * GAP
    if pen.textlength(text, font) <= room:
        return text
    while text and pen.textlength(text + "…", font) > room:
        text = text[:-1]
    return text + "…"
