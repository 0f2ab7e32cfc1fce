"""What `crashes.py` interrupts: trainings, an export, packing and indexing, by the functions of their commands."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from tests.trials.mutation import require


class Activity(ABC):
    """Something that writes files.

    Args:
        folder: for what is prepared once; the input of all cases.
    """

    name: ClassVar[str]
    share: ClassVar[int]
    """Its part of the cases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, place: Path) -> None:  # noqa: B027 (nothing by default)
        """Create what two processes then work on."""

    @abstractmethod
    def act(self, place: Path) -> None:
        """Do it in a folder, or resume what is there."""

    @abstractmethod
    def result(self, place: Path) -> object:
        """What must not depend on interruptions."""

    def check_left(self, place: Path) -> None:  # noqa: B027 (nothing by default)
        """Raise if what a killed process left is neither nothing nor complete."""


class TinyTraining(Activity):
    """The engine with a task of a few numbers, which keeps the best checkpoint."""

    name, share = "engine", 10

    def begin(self, place: Path) -> None:
        """Create the run."""
        from tests.engine import tiny_task

        tiny_task.new_run(place / "runs")

    def act(self, place: Path) -> None:
        """Start or resume."""
        from tests.engine import tiny_task

        run = _one_run(place / "runs") or tiny_task.new_run(place / "runs")
        tiny_task.train(run, tiny_task.WaveringTask(), tiny_task.settings(keep_best="validation/wavering"))

    def result(self, place: Path) -> object:
        """Weights, moments and metrics."""
        from tests.engine import tiny_task

        run = _one_run(place / "runs")
        assert run is not None
        return tiny_task.digest(run)


class Training(Activity):
    """`cbalign train` of a small model with all objectives."""

    name, share = "train", 3

    def __init__(self, folder: Path) -> None:
        from tests.cli.tiny import write_experiment

        super().__init__(folder)
        write_experiment(folder)

    def act(self, place: Path) -> None:
        """Start or resume."""
        from cbalign.engine.reporter import Silent
        from cbalign.experiment.load import load_experiment
        from cbalign.tasks.train import resume_run, train_experiment

        run = _one_run(place / "runs")
        if run is None:
            train_experiment(load_experiment(self.folder / "spec.yaml"), place / "runs", Silent())
        else:
            resume_run(run, (), Silent())

    def result(self, place: Path) -> object:
        """The last checkpoint, the metrics and the evaluation."""
        run = _one_run(place / "runs")
        assert run is not None
        newest = run.latest_checkpoint()
        lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        lines = [{k: v for k, v in line.items() if not k.endswith(("per_second", "seconds", "wait"))} for line in lines]
        return {
            "step": newest.name,
            "weights": _hash(newest / "model.safetensors"),
            "metrics": lines,
            "status": json.loads(run.manifest.read_text())["status"],
            "assets": _tree(run.assets),
        }


class Export(Activity):
    """`cbalign export` of one graph, over an existing bundle when it is repeated."""

    name, share = "export", 1

    def __init__(self, folder: Path) -> None:
        from cbalign.engine.reporter import Silent
        from cbalign.experiment.load import load_experiment
        from cbalign.tasks.train import train_experiment
        from tests.cli.tiny import write_experiment

        super().__init__(folder)
        spec = load_experiment(write_experiment(folder) / "spec.yaml", ["export.graphs=[image]"])
        self._run = train_experiment(spec, folder / "runs", Silent()).run.folder

    def act(self, place: Path) -> None:
        """Export again and again to the same folder."""
        from cbalign.exporting.bundle import export_run

        export_run(self._run, place / "bundle", precisions=("fp32",), force=True)

    def check_left(self, place: Path) -> None:
        """A bundle under its name is complete."""
        from cbalign.runtime.bundle import BundleFolder

        if (place / "bundle").exists():
            BundleFolder.open(place / "bundle").verify()

    def result(self, place: Path) -> object:
        """The graphs, and no other files than those of the bundle."""
        files = _tree(place)
        return {name: digest for name, digest in files.items() if not name.endswith((".json", ".md", ".npz"))}


class Pack(Activity):
    """`cbalign data pack`."""

    name, share = "pack", 6

    def __init__(self, folder: Path) -> None:
        from tests.cli.tiny import write_experiment

        super().__init__(folder)
        write_experiment(folder)

    def act(self, place: Path) -> None:
        """Pack, unless it is complete."""
        from cbalign.data.csv_pairs import open_csv
        from cbalign.data.pack import Scaling, ShardLimits, pack
        from cbalign.engine.files import new_folder

        if (place / "packed").exists():
            return
        source = open_csv([self.folder / "pairs.csv"], self.folder, image="image", caption="caption", delimiter=",")
        with new_folder(place / "packed") as folder:
            pack(
                source,
                folder,
                limits=ShardLimits(8, 1_000_000),
                scaling=Scaling(None),
                corrupt_limit=0,
                workers=0,
                report=lambda *_: None,
            )

    def check_left(self, place: Path) -> None:
        """Shards under their name are complete."""
        if (place / "packed").exists():
            listed = json.loads((place / "packed" / "manifest.json").read_text())["shards"]
            for shard in listed:
                require(_hash(place / "packed" / shard["name"]) == shard["sha256"], f"{shard['name']} is not complete")

    def result(self, place: Path) -> object:
        """All files, and nothing else."""
        return _tree(place)


class Index(Activity):
    """`cbalign search` of a folder: its index."""

    name, share = "index", 5

    def __init__(self, folder: Path) -> None:
        from tests.apps.search.conftest import write_photo
        from tests.runtime.conftest import write_bundle

        super().__init__(folder)
        write_bundle(folder / "bundle")
        (folder / "photos").mkdir()
        for number in range(9):
            write_photo(folder / "photos" / f"{number}.png", number % 3, 250 - 20 * number, number)
        (folder / "photos" / "damaged.png").write_bytes(b"none")

    def act(self, place: Path) -> None:
        """Bring the index up to date."""
        from cbalign.apps.search.index import open_index
        from cbalign.runtime.session import Session

        open_index(Session.open(self.folder / "bundle", "cpu"), self.folder / "photos", place / "cache")

    def result(self, place: Path) -> object:
        """The vector of each file."""
        from cbalign.apps.search.index import open_index
        from cbalign.runtime.session import Session

        index = open_index(Session.open(self.folder / "bundle", "cpu"), self.folder / "photos", place / "cache")
        vectors = {
            path: index.contents.vectors[row].tolist() for row, names in index.contents.paths.items() for path in names
        }
        return {"problems": index.changes.problems, **vectors}


def _one_run(runs: Path) -> Any:
    """The run that a killed training left, if any; there is at most one."""
    from cbalign.engine.run import RunFolder

    found = (
        [path for path in runs.iterdir() if path.is_dir() and not path.name.startswith(".")] if runs.exists() else []
    )
    require(len(found) <= 1, f"several runs: {found}")
    return RunFolder(found[0]) if found else None


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): _hash(path) for path in sorted(folder.rglob("*")) if path.is_file()}


ACTIVITIES: tuple[type[Activity], ...] = (TinyTraining, Training, Export, Pack, Index)
