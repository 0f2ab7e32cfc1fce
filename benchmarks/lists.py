"""Measure the memory and time of reading a list of pairs, in a separate process.

    python benchmarks/lists.py --pairs 1000000 --format json

Writes a list like those of pretraining (several captions for some images, paths of 60 and captions of 55 characters on
average) to a temporary folder, opens it with the source that training uses, and prints how much memory that takes
beyond the bytes of the paths and captions themselves. Peak and retained memory are those of the whole process, minus
what it used before the list was opened.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

WORDS = ("a", "man", "woman", "dog", "riding", "sitting", "red", "grass", "street", "with", "two", "people", "bench",
         "small", "white", "bicycle", "train", "station", "holding", "umbrella", "café", "naïve", "table")  # fmt: skip


def pairs(count: int) -> Iterator[tuple[str, int, str]]:
    """Yield the path, image number and caption of each pair; every second image has five captions."""
    draw = random.Random(0)
    image = -1
    left = 0
    for _ in range(count):
        if left == 0:
            image += 1
            left = 5 if image % 2 else 1
        left -= 1
        caption = " ".join(draw.choices(WORDS, k=draw.randint(6, 14)))
        yield f"vision/coco/images/train2014/COCO_train2014_{image:012d}.jpg", image, caption


def write(count: int, kind: str, folder: Path) -> tuple[Path, int]:
    """Write the list; return it with the bytes of its paths and captions."""
    path = folder / f"list.{'csv' if kind == 'csv' else 'json'}"
    text = 0
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        if kind == "csv":
            rows.writerow(["image", "caption"])
        else:
            file.write("[" if kind == "json" else '{"images": [')
        for number, (image, image_id, caption) in enumerate(pairs(count)):
            text += len(image.encode()) + len(caption.encode())
            if kind == "csv":
                rows.writerow([image, caption])
                continue
            entry = {"image": image, "caption": caption, "image_id": image_id}
            if kind == "karpathy":
                entry = {"filename": image, "split": "train", "sentences": [{"raw": caption}]}
            file.write((",\n" if number else "") + json.dumps(entry, ensure_ascii=False))
        if kind != "csv":
            file.write("]" if kind == "json" else "]}")
    return path, text


def measure(path: str, kind: str) -> dict[str, float]:
    """Open the list in this process; return bytes and CPU seconds."""
    from cbalign.data.csv_pairs import open_csv
    from cbalign.data.json_pairs import open_json
    from cbalign.data.karpathy import open_karpathy

    root = Path(path).parent
    before = peak()
    start = time.process_time()
    if kind == "csv":
        source = open_csv([path], root, image="image", caption="caption", delimiter=",")
    elif kind == "json":
        source = open_json([path], root)
    else:
        source = open_karpathy(path, root, split="train", entries="captions")
    seconds = time.process_time() - start
    kept = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return {"pairs": len(source), "peak": peak() - before, "kept": kept - before, "seconds": seconds}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--format", choices=("json", "csv", "karpathy"), default="json")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.format)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path, text = write(options.pairs, options.format, Path(folder))
        size = path.stat().st_size
        command = [sys.executable, __file__, "--format", options.format, "--measure", str(path)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    mib = 1 << 20
    print(
        f"{found['pairs']:,} pairs, a {options.format} file of {size / mib:.0f} MiB with {text / mib:.0f} MiB of text"
    )
    print(f"kept {found['kept'] / mib:.0f} MiB: {found['kept'] / text:.2f} times its text", end="; ")
    print(f"{(found['kept'] - text) / options.pairs:.0f} bytes per pair besides")
    print(f"peak {found['peak'] / mib:.0f} MiB: {found['peak'] / text:.2f} times its text")
    print(f"{found['seconds']:.1f} s of CPU, {options.pairs / found['seconds']:,.0f} pairs per second of one core")


if __name__ == "__main__":
    main()
