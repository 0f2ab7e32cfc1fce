"""SNLI-VE's JSON lines, and ALBEF's lists of the same hypotheses.

    {"Flickr30K_ID": "4705552913", "sentence2": hypothesis, "gold_label": "neutral", "pairID": text, …}   (published)
    {"image": "4705552913", "sentence": hypothesis, "label": "neutral"}                                    (ALBEF)

Images are Flickr30k's, `<id>.jpg`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cbalign.data.items import ENTAILMENT_LABELS, Premise
from cbalign.data.json_stream import stream_objects, text_field
from cbalign.data.labelled_files import UNKNOWN, LabelledBuilder, LabelledFiles, label_of
from cbalign.data.sections.labelled import SNLIVESource
from cbalign.parts import ItemKind

_IMAGES = (".jpg", ".jpeg", ".png", ".webp")


class PremiseFiles(LabelledFiles[Premise]):
    """Hypotheses about image files."""

    noun = "hypotheses about images"

    def item(self, index: int) -> Premise:
        """Return premise and hypothesis `index`."""
        lists = self._lists
        label = lists.labels[index]
        return Premise(
            id=lists.ids[index],
            image_key=self._files.path(index),
            text=lists.texts[index],
            label=None if label == UNKNOWN else ENTAILMENT_LABELS[label],
        )


def open_section(section: SNLIVESource, items: ItemKind) -> PremiseFiles:
    """Open the source that a section describes."""
    return open_snli_ve(section.files, section.root)


def open_snli_ve(files: Sequence[str | Path], root: str | Path) -> PremiseFiles:
    """Read files of either form, one after the other.

    Raises:
        DataError: a file is missing or malformed, or an entry lacks a field or has an unknown label; the message names
            file, entry and field.
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
    return PremiseFiles(builder.finish())
