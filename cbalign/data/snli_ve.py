"""SNLI-VE's JSON lines, and ALBEF's lists of them.

    {"Flickr30K_ID": "4705552913", "sentence2": hypothesis, "gold_label": "neutral", "pairID": text, …}   (published)
    {"image": "4705552913", "sentence": hypothesis, "label": "neutral"}                                    (ALBEF)

Images are Flickr30k's, `<id>.jpg`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cbalign.data.items import ENTAILMENT_LABELS, Premise
from cbalign.data.json_stream import stream_objects
from cbalign.data.labelled_files import UNKNOWN, LabelledBuilder, LabelledFiles, label_of, text_field

_IMAGES = (".jpg", ".jpeg", ".png", ".webp")


class Premises(LabelledFiles):
    """Hypotheses about image files; keeps `ItemSource[Premise]`."""

    def item(self, index: int) -> Premise:
        """What premise `index` says."""
        items = self._items
        label = items.labels[index]
        return Premise(
            id=items.ids[index],
            image_key=items.images.path(index),
            text=items.texts[index],
            label=None if label == UNKNOWN else ENTAILMENT_LABELS[label],
        )


def open_snli_ve(files: Sequence[str | Path], root: str | Path) -> Premises:
    """Read files of either form, one after the other.

    Raises:
        DataError: a file is missing or malformed, or an entry lacks a field or has a label that there is not; the
            message names file, entry and field.
    """
    builder = LabelledBuilder(root, 1)
    for file in files:
        builder.start_file(file)
        for number, entry in stream_objects(file):
            where = f"{file}, entry {number}"
            published = "Flickr30K_ID" in entry
            image, sentence, label = (
                ("Flickr30K_ID", "sentence2", "gold_label") if published else ("image", "sentence", "label")
            )
            name = text_field(entry, image, where)
            identifier = str(entry.get("pairID", number))
            builder.add(
                number,
                [name if name.lower().endswith(_IMAGES) else f"{name}.jpg"],
                text_field(entry, sentence, where),
                label_of(entry, label, ENTAILMENT_LABELS, where),
                id=identifier,
                group=identifier,
            )
    return Premises(builder.finish(), "hypotheses about images")
