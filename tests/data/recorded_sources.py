"""One source of each form on fixed files, with the fingerprints that version 1.0's runs recorded for such data."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from PIL import Image

Settings = dict[str, object]

CAPTIONS = ["a red square", "Two “quoted” words", "bleu\tet vert", "no 4", "five", "six"]


def write_files(folder: Path) -> None:
    """Lists of six images in every form, and the images."""
    for i in range(6):
        Image.new("RGB", (12 + i, 10), (40 * i, 200 - 30 * i, 90)).save(folder / f"{i}.png")
        for position in (0, 1):
            Image.new("RGB", (9, 9), (30 * i, 99 * position, 7)).save(folder / f"dev-{i}-0-img{position}.png")
    pairs = [{"image": f"{i}.png", "caption": text, "image_id": i // 2} for i, text in enumerate(CAPTIONS)]
    pairs[3]["caption"] = ["no 4", "and again"]
    _json(folder / "pairs.json", pairs)
    (folder / "pairs.csv").write_text(
        "image,caption\n" + "".join(f'{i}.png,"{text}"\n' for i, text in enumerate(CAPTIONS)), encoding="utf-8"
    )
    splits = ("train", "restval", "val", "train", "test", "train")
    karpathy = [
        {"filename": f"{i}.png", "split": split, "sentences": [{"raw": CAPTIONS[i]}, {"raw": f"image {i}"}]}
        for i, split in enumerate(splits)
    ]
    _json(folder / "karpathy.json", {"images": karpathy, "dataset": "x"})
    _write_shard(folder / "00.tar", folder)
    asked = [{"image_id": i, "question": f"What is {i}?", "question_id": 10 + i} for i in range(6)]
    _json(folder / "questions.json", {"data_subtype": "train2014", "questions": asked})
    said = [
        {"question_id": 10 + i, "image_id": i, "answers": [{"answer": "yes"}] * 7 + [{"answer": CAPTIONS[i]}] * 3}
        for i in range(6)
    ]
    _json(folder / "annotations.json", {"annotations": said})
    albef = [
        {"dataset": "vqa" if i % 2 else "vg", "image": f"{i}.png", "question": f"q {i}?", "answer": CAPTIONS[i]}
        for i in range(5)
    ]
    _json(folder / "albef.json", [*albef, {"image": "5.png", "question": "secret?"}])
    statements = [
        {"identifier": f"dev-{i}-0-{j}", "sentence": f"{CAPTIONS[i]} {j}", "label": str(j == 0)}
        for i in range(6)
        for j in (0, 1)
    ]
    _json(folder / "nlvr2.json", [*statements, {"images": ["0.png", "1.png"], "sentence": "unknown"}])
    labels = ("contradiction", "neutral", "entailment")
    _json(
        folder / "snli-ve.json",
        [{"image": f"{i}.png", "sentence": text, "label": labels[i % 3]} for i, text in enumerate(CAPTIONS)],
    )


def settings(folder: Path) -> dict[str, tuple[str, Settings]]:
    """Kind of items and `data.train` section of each source, by a name."""
    at = str(folder)

    def file(name: str) -> str:
        return str(folder / name)

    scenes = {"source": "scenes", "size": 40, "render_size": 32}
    return {
        "openmoji": ("pairs", {"source": "openmoji", "split": "test", "render_size": 16}),
        "scenes-pairs": ("pairs", {**scenes, "split": "test"}),
        "scenes-questions": ("questions", {**scenes, "split": "train", "seed": 3}),
        "scenes-statements": ("statements", {**scenes, "split": "validation"}),
        "scenes-premises": ("premises", {**scenes, "split": "compositions"}),
        "easy-vqa": ("questions", {"source": "easy-vqa", "split": "test"}),
        "json": ("pairs", {"source": "json", "files": [file("pairs.json"), file("pairs.json")], "root": at}),
        "csv": ("pairs", {"source": "csv", "files": [file("pairs.csv")], "root": at}),
        "karpathy": ("pairs", {"source": "karpathy", "file": file("karpathy.json"), "root": at, "split": "train"}),
        "webdataset": ("pairs", {"source": "webdataset", "shards": [file("00.tar")]}),
        "vqa-v2": (
            "questions",
            {
                "source": "vqa-v2",
                "questions": [file("questions.json")],
                "annotations": [file("annotations.json")],
                "root": at,
                "image": "{id}.png",
            },
        ),
        "albef-vqa": ("questions", {"source": "albef-vqa", "files": [file("albef.json")], "root": at}),
        "nlvr2": ("statements", {"source": "nlvr2", "files": [file("nlvr2.json")], "root": at}),
        "snli-ve": ("premises", {"source": "snli-ve", "files": [file("snli-ve.json")], "root": at}),
    }


def _json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_shard(path: Path, images: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for i, text in enumerate(CAPTIONS):
            described = json.dumps({"caption": [text, "second"], "image_id": i // 2, "captions_per_entry": [1, 1]})
            for name, content in (
                (f"{i}.png", (images / f"{i}.png").read_bytes()),
                (f"{i}.txt", text.encode()),
                (f"{i}.json", described.encode()),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
