"""The example plug-in: built, installed as a distribution, and used for everything that a spec can do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORDS = ["red", "blue", "green", "dark", "light", "small", "large", "round", "square", "striped"]


@dataclass(frozen=True)
class Done:
    """What a command returned."""

    code: int | None
    out: str
    err: str

    @property
    def document(self) -> dict:  # type: ignore[type-arg]
        """What it printed with --json."""
        assert self.code == 0, self.err
        return json.loads(self.out)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Place:
    """A working directory, with the plug-in installed in a folder of its own."""

    site: Path
    work: Path

    def python(self, *words: str, installed: bool = True) -> str:
        """What Python prints, with or without the plug-in."""
        path = os.pathsep.join([str(ROOT), *([str(self.site)] if installed else [])])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            # -P: a script's folder, here that of the plug-in's source, is not on the path.
            [sys.executable, "-P", *words],
            capture_output=True,
            text=True,
            cwd=self.work,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *lines: str, installed: bool = True) -> list[Done]:
        """Run command lines in one process; importing torch takes seconds."""
        words = json.dumps([line.split() for line in lines])
        printed = self.python(str(HERE / "commands.py"), words, installed=installed)
        return [Done(**each) for each in json.loads(printed)]


def build(folder: Path) -> Path:
    """The wheel of the plug-in; pip fetches what builds it."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and re.search("No matching distribution|connection|timed out", done.stderr, re.IGNORECASE):
        pytest.skip("the package registry, which has hatchling, is out of reach")
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("cbalign_example-*.whl")
    return wheel


def write_specs(folder: Path) -> None:
    """The two specs, and images with captions."""
    generator = np.random.default_rng(7)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    for number in range(24):
        pixels = generator.integers(0, 200, 3) + generator.integers(0, 56, (20, 24, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(pictures / f"{number:02}.png")
        caption = f"{' '.join(generator.choice(WORDS, 1 + number % 6))} {number}"
        (pictures / f"{number:02}.txt").write_text(caption, "utf-8")
    for name in ("example.yaml", "check.yaml", "loss.yaml"):
        shutil.copy(HERE / name, folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("plugin")
    install = ["install", "--quiet", "--no-deps", "--target", str(folder / "site"), str(build(folder))]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    write_specs(folder / "work")
    return Place(folder / "site", folder / "work")


LIFE = (
    "train example.yaml --set train.checkpoint_every=2steps --runs-dir runs --name one",
    "evaluate runs/latest --on test --json",
    "export runs/latest --output bundle",
    "verify bundle --json",
    "evaluate bundle --on test --json",
    "train check.yaml --runs-dir checks --name two",
    "evaluate checks/latest --json",
    "export checks/latest --output check-bundle",
    "evaluate check-bundle --json",
    "plan example.yaml --json",
    "plan check.yaml --json",
    "train loss.yaml --set train.duration=2steps --set train.schedule.warmup=0steps --runs-dir losses",
)


@pytest.fixture(scope="module")
def life(place: Place) -> dict[str, Done]:
    """Both tasks, from training to an evaluated bundle; by command."""
    return dict(zip(LIFE, place.run(*LIFE), strict=True))


PARTS = {
    ("objective", "sigmoid"),
    ("source", "sidecar"),
    ("task", "caption-check"),
    ("evaluation", "caption-accuracy"),
    ("image tower", "patchify"),
    ("text tower", "bag"),
    ("solver", "softmax"),
    ("schedule", "steps"),
    ("precision", "rounded"),
    ("export target", "zip"),
    ("tracker", "csv"),
}


def test_specs_can_name_every_part(place: Place) -> None:
    listed, valid, shown, explained, schema, wrong, unlike, differences, rule = place.run(
        "ls --parts --json",
        "validate example.yaml check.yaml loss.yaml",
        "show example.yaml --resolved",
        "explain objectives.sigmoid.bias",
        "schema",
        "validate example.yaml --set objectives.sigmoid.bais=1",
        "validate example.yaml --set model.vision.kind=patchfy",
        "diff example.yaml quickstart --json",
        "validate example.yaml --set data.test.end=0.4",
    )
    own = {(p["kind"], p["name"]) for p in listed.document["parts"] if p["distribution"] == "cbalign-example"}
    assert (own, listed.document["broken"]) == (PARTS, [])
    assert valid.code == 0, valid.err
    assert "sigmoid:\n    weight: 0.5\n    every: 1\n    temperature: 0.1\n    bias: -5.0\n" in shown.out
    assert ("Initial bias b." in explained.out, "-10 (Zhai et al.)" in explained.out) == (True, True), explained.err
    assert {"SigmoidSection", "SidecarSource", "CaptionCheck"} <= schema.document["$defs"].keys()
    assert (wrong.code, "^^^^\n  hint: did you mean `bias`?" in wrong.err + wrong.out) == (2, True)
    assert (unlike.code, "did you mean `patchify`?" in unlike.err + unlike.out) == (2, True)
    assert "start (0.5) must be below end (0.4)" in rule.err + rule.out
    effects = {each["path"]: each["effect"] for each in json.loads(differences.out)["differences"]}
    assert differences.code == 1
    assert (effects["objectives.sigmoid.weight"], effects["model.vision.kind"]) == ("architecture", "architecture")


def test_a_model_made_of_its_parts_is_trained_evaluated_exported_and_verified(
    place: Place, life: dict[str, Done]
) -> None:
    for line in LIFE:
        assert life[line].code == 0, f"{line}: {life[line].err}"
    folder = (place.work / "runs" / "latest").read_text().strip()
    run = place.work / "runs" / folder if (place.work / "runs" / folder).is_dir() else Path(folder)
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("loss/sigmoid" in record and "sigmoid/bias" in record for record in logged)
    rows = (run / "metrics.csv").read_text().splitlines()
    assert len([row for row in rows if row.startswith("train,")]) > 5
    assert json.loads((run / "manifest.json").read_text())["facts"]["plugins"] == {"cbalign-example": "1.0.0"}
    assert (place.work / "bundle-zip" / "bundle.zip").is_file()
    assert life["verify bundle --json"].document
    torch, exported = (
        life[f"evaluate {name} --on test --json"].document["results"] for name in ("runs/latest", "bundle")
    )
    assert [each["protocol"] for each in torch] == ["dual", "code"] == [each["protocol"] for each in exported]


def test_data_check_and_stats_read_the_items_of_its_task(place: Place) -> None:
    checked, described = place.run("data check check.yaml --workers 0", "data stats check.yaml --workers 0")
    assert "problem: validation: 24 of its images are also in train" in checked.out
    for done, code, noun in ((checked, 1, "captions per image"), (described, 0, "words of a caption")):
        assert done.code == code, done.err
        (items,) = (line.split() for line in done.out.splitlines() if line.startswith("checked-captions"))
        assert items[1:] == ["48", "48", "24"], "two items for each picture"
        assert f"\n{noun}" in done.out


def test_its_task_is_trained_evaluated_and_exported(life: dict[str, Done]) -> None:
    torch, exported = (
        life[f"evaluate {name} --json"].document["results"][0] for name in ("checks/latest", "check-bundle")
    )
    assert torch["items"] == exported["items"] == 48
    assert torch["metrics"].keys() == {"accuracy", "consistency"}
    assert torch["metrics"] == pytest.approx(exported["metrics"], abs=5)


def test_a_run_resumes_and_ends_with_the_same_weights(place: Place, life: dict[str, Done]) -> None:
    code = (
        "import cbalign, shutil, torch\n"
        "from pathlib import Path\n"
        "from cbalign.engine.run import open_run\n"
        "run = open_run(Path('runs/latest')).folder\n"
        "shutil.copytree(run, 'resumed')\n"
        "shutil.rmtree('resumed/checkpoints/step-4')\n"
        "manifest = Path('resumed/manifest.json')\n"
        "manifest.write_text(manifest.read_text().replace('finished', 'killed'))\n"
        "cbalign.resume('resumed')\n"
        "rows = [[r.split(',')[:3] for r in open(f'{path}/metrics.csv')] for path in (run, 'resumed')]\n"
        "assert rows[0] == rows[1], 'the tracker drops records of steps that come again'\n"
        "models = [cbalign.load(path).module.state_dict() for path in (run, 'resumed')]\n"
        "assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])\n"
        "model = cbalign.load(run)\n"
        "print(model.encode_images(['pictures/00.png']).shape, model.codes(model.encode_texts(['red'])).code.shape)\n"
    )
    assert place.python("-c", code).split("\n")[-2] == "(1, 16) (1,)"


def test_without_it_one_message_says_what_is_missing(place: Place, life: dict[str, Done]) -> None:
    needs = "this spec needs cbalign-example>=1.0, which is not installed"
    spec, shown, evaluated, verified, bundle = place.run(
        "validate example.yaml",
        "runs show latest",
        "evaluate runs/latest",
        "verify bundle",
        "evaluate bundle",
        installed=False,
    )
    for done in (spec, shown, evaluated, bundle):
        said = done.out + done.err
        assert (done.code, said.count(needs)) == (2, 1), said
        assert "1 mistake" in said or said.count("hint:") == 1, said
        assert "hint: pip install 'cbalign-example>=1.0'" in said
    assert verified.code == 3
    assert "the precision rounded is not installed; the bundle was made with cbalign-example==1.0.0" in verified.err


@pytest.mark.parametrize(
    ("module", "old", "new", "code", "message"),
    [
        (
            "patchify.py",
            "return cls(",
            "return cls(1 // 0, ",
            2,
            "patchify (cbalign-example 1.0.0): cbalign_example.patchify:Patchify.from_section failed with ZeroDivision",
        ),
        (
            "sigmoid.py",
            "images, texts = ",
            "images, texts, more = ",
            1,
            "cbalign-example 1.0.0: ValueError: not enough values to unpack",
        ),
        (
            "sidecar.py",
            "image_id=index",
            "image_id=self._files[index].name",
            1,
            "cbalign-example 1.0.0: TypeError: `image_id` of the pair 00.png must be a number below 2**63, not",
        ),
        (
            "sidecar.py",
            "(self._captions[index],)",
            "self._captions[index]",
            1,
            "cbalign-example 1.0.0: TypeError: `captions` of the pair 00.png must be a tuple of texts, not '",
        ),
        (
            "sidecar.py",
            "return (decode(self._files[index]),)",
            "return (decode(self._files[index + len(self)]),)",
            1,
            "cbalign-example 1.0.0: IndexError: list index out of range",
        ),
    ],
    ids=["builder", "training step", "image_id", "captions", "worker process"],
)
def test_an_exception_in_its_code_names_the_distribution(
    place: Place, tmp_path: Path, module: str, old: str, new: str, code: int, message: str
) -> None:
    broken = tmp_path / "site"
    shutil.copytree(place.site, broken)
    file = broken / "cbalign_example" / module
    file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")
    (failed,) = Place(broken, place.work).run("train example.yaml --runs-dir failed --set data.workers=1")
    assert failed.code == code, failed.err
    assert message in failed.err
    assert ("This is a bug in cbalign-example 1.0.0." in failed.err) == (code == 1)


@pytest.fixture(scope="module")
def wrong(place: Place) -> dict[str, Done]:
    """Trainings with methods that return wrong values; by case."""
    return {case: Done(**each) for case, each in json.loads(place.python(str(HERE / "wrong_results.py"))).items()}


SAYS = {
    "term": "Sigmoid.forward (#) returned a Tensor, not a cbalign.objectives.objective.Term",
    "metric": "Sigmoid.forward (#) returned a float as bias, not a scalar tensor",
    "loss": "Sigmoid.forward (#) returned a tensor of shape (8,) as the loss, not a scalar",
    "texts": "Sigmoid.texts (#) returned a TextRequest, not a tuple or a list",
    "objective": "sigmoid (#) builds cbalign_example.sigmoid:Sigmoid, which returned a Linear, not a cbalign.",
    "plan": "Softmax (#) returned a Tensor, not a cbalign.models.transport_plan.TransportPlan",
    "shape of a plan": "Softmax (#) returned the plan (8, 7) (float32, cpu) of the costs (8, 8) (float32, cpu)",
    "rate": "Steps (#) returned the text '1e-3', not a float or an int",
    "source": "sidecar (#) builds cbalign_example.sidecar:open_sidecar, which returned a list without name",
    "item": "Sidecar.item (#) returned a dict without image_keys and",
    "images": "Sidecar.images (#) returned a list, not a tuple",
    "data sets": "SidecarSource.data_sets (#) returned the text 'coco', not a tuple of texts",
    "image tokens": "Patchify.encode (#) returned tokens of shape (1, 3, 1024) for one input, not (1, 16, 32)",
    "text tokens": "Bag.forward (#) returned tokens of shape (1, 32) for one input, not (1, 3, 32)",
}


@pytest.mark.parametrize("case", SAYS)
def test_a_wrong_return_value_is_reported_as_a_mistake_of_the_distribution(wrong: dict[str, Done], case: str) -> None:
    done = wrong[case]
    assert SAYS[case].replace("#", "cbalign-example 1.0.0") in " ".join(done.err.split()), done.err
    assert "This is a mistake in cbalign-example: update it, or report it to its authors." in " ".join(done.err.split())
    assert (done.code, "Traceback" in done.err) == (2, False)
    assert wrong.keys() == SAYS.keys()


@pytest.mark.slow
def test_the_wheel_works_beside_an_installed_cbalign(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    build(wheels)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def execute(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, cwd=tmp_path / "work", env=environment
        )

    write_specs(tmp_path / "work")
    built = execute(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", wheels, ROOT)
    assert built.returncode == 0, built.stderr
    assert execute(sys.executable, "-m", "venv", tmp_path / "venv").returncode == 0
    (own,) = wheels.glob("cbalign-*.whl")
    (plugin,) = wheels.glob("cbalign_example-*.whl")
    install = (python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt")
    done = execute(*install, f"{own}[train]", plugin)
    if done.returncode and re.search("No matching distribution|connection|timed out", done.stderr, re.IGNORECASE):
        pytest.skip(f"the package registry is out of reach: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    for line in LIFE:
        done = execute(python, "-m", "cbalign", *line.split())
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert execute(python, "-m", "cbalign", "diff", "example.yaml", "check.yaml").returncode == 1
    assert execute(python, "-m", "pip", "uninstall", "--yes", "cbalign-example").returncode == 0
    lost = execute(python, "-m", "cbalign", "evaluate", "bundle")
    assert (lost.returncode, "this spec needs cbalign-example>=1.0" in lost.stderr) == (2, True)
