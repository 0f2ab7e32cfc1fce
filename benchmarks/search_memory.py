"""Measure the memory and time of `cbalign search` over folders of two sizes, with one bundle.

    python benchmarks/search_memory.py exports/quickstart --images 1000 10000

Writes small images with noise to a temporary folder, indexes it in a separate process, and searches it again from the
finished index. Prints the peak resident memory of the process and the time of a query.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

COMMAND = "import sys, resource; from cbalign.cli import main\n" + (
    "try: main(sys.argv[1:])\nfinally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
)


def draw(folder: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    for number in range(count):
        colour = generator.integers(0, 200, 3)
        noise = generator.integers(0, 56, (96, 128, 3))
        Image.fromarray((colour + noise).astype(np.uint8)).save(folder / f"{number:06}.jpg", quality=85)


def search(bundle: Path, folder: Path, cache: Path) -> tuple[dict, float, float]:
    """Return the document, the peak memory in MB, and the seconds."""
    words = ["search", bundle, folder, "a red thing", "--rerank", 0, "--threads", 1, "--cache", cache, "--json"]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", COMMAND, *map(str, words)], capture_output=True, text=True, check=True)
    peak = float(done.stderr.strip().splitlines()[-1]) / (1e6 if sys.platform == "darwin" else 1e3)
    return json.loads(done.stdout), peak, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000])
    arguments = parser.parse_args()
    print(f"{'images':>8} {'index, peak MB':>15} {'seconds':>8} {'again, peak MB':>15} {'query ms':>9} {'index MB':>9}")
    for count in arguments.images:
        with tempfile.TemporaryDirectory() as temporary:
            folder, cache = Path(temporary, "images"), Path(temporary, "cache")
            folder.mkdir()
            draw(folder, count)
            first, peak, seconds = search(arguments.bundle, folder, cache)
            assert first["index"]["encoded"] == count
            again, peak_again, _ = search(arguments.bundle, folder, cache)
            assert again["index"]["read"] == 0
            size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) / 1e6
            query = again["milliseconds"]["search"]
            print(f"{count:8,} {peak:15.0f} {seconds:8.1f} {peak_again:15.0f} {query:9.2f} {size:9.1f}")


if __name__ == "__main__":
    main()
