"""`cbalign diff`."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from cbalign.cli import main
from cbalign.experiment.dump import dump_yaml
from cbalign.experiment.load import load_experiment
from cbalign.runtime.bundle import BundleFile, BundleManifest

LISTED = {name: BundleFile("0" * 64, 1) for name in ("spec.yaml", "preprocessing.json", "tokenizer.json", "text.json")}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("extends: scratch\nname: a\ntrain: {batch_size: 64}\n")
    Path("b.yaml").write_text(
        "extends: scratch\nname: b\nmodel: {codebook: {size: 128}}\nexport: {opset: 18}\ntrain: {batch_size: 256}\n"
    )
    return tmp_path


def diff(*arguments):
    return CliRunner().invoke(main, ["diff", *arguments])


def test_text_groups_by_effect_worst_first():
    result = diff("a.yaml", "b.yaml")
    assert result.exit_code == 1
    told = result.stdout
    order = [told.index(word) for word in ("ARCHITECTURE", "TRAINING", "EXPORT", "LABEL", "DERIVED", "VERDICTS")]
    assert order == sorted(order)
    line = next(line for line in told.splitlines() if "train.batch_size" in line)
    assert line.split() == ["train.batch_size", "64", "→", "256", "+192,", "×4", "a.yaml:3", "→", "b.yaml:5"]
    assert "pairs per optimiser step" in told
    assert "not loaded: codebook (2 reshaped, first objectives.codebook.codebook.prototypes 256×256 → 128×256)" in told
    line = next(line for line in told.splitlines() if "trainable parameters" in line)
    assert line.split()[2:] == ["30,217,725", "→", "30,184,957", "-32,768,", "×0.9989"]


def test_the_same_is_said_in_one_line_and_exits_with_0():
    result = diff("a.yaml", "a.yaml")
    assert (result.exit_code, result.stdout) == (0, "a.yaml = a.yaml: no differences\n")


@pytest.mark.parametrize(("limit", "code"), [("architecture", 1), ("initialisation", 1), ("training", 1), ("label", 1)])
def test_fail_on_counts_its_class_and_worse_ones(limit, code):
    assert diff("a.yaml", "b.yaml", "--fail-on", limit).exit_code == code


def test_fail_on_lets_milder_differences_pass():
    Path("c.yaml").write_text("extends: a.yaml\nname: c\ntrain: {device: cpu}\n")
    assert diff("a.yaml", "c.yaml").exit_code == 1
    assert diff("a.yaml", "c.yaml", "--fail-on", "runtime").exit_code == 1
    assert diff("a.yaml", "c.yaml", "--fail-on", "export").exit_code == 0


def test_json_has_every_value_unshortened():
    document = json.loads(diff("a.yaml", "b.yaml", "--json").stdout)
    assert (document["same"], document["worst"]) == (False, "architecture")
    found = {each["path"]: each for each in document["differences"]}
    assert found["train.batch_size"] | {"help": ""} == {
        "path": "train.batch_size", "effect": "training", "values": [64, 256], "present": [True, True],
        "origins": ["a.yaml:3", "b.yaml:5"], "delta": 192, "ratio": 4.0, "help": "",
    }  # fmt: skip
    assert len(document["verdicts"]) == 4
    assert [operand["kind"] for operand in document["operands"]] == ["spec", "spec"]


def test_a_patch_is_a_spec_that_is_b():
    patch = diff("a.yaml", "b.yaml", "--format", "patch").stdout
    Path("patch.yaml").write_text(patch)
    assert "scratch" not in patch
    assert load_experiment("patch.yaml").experiment == load_experiment("b.yaml").experiment


def test_markdown_is_a_table_for_a_pull_request():
    lines = diff("a.yaml", "b.yaml", "--format", "markdown").stdout.splitlines()
    assert "| training | `train.batch_size` | `64` | `256` | +192, ×4 |" in lines
    tables = [block.splitlines() for block in "\n".join(lines).split("\n\n") if block.startswith("|")]
    assert [{row.replace("\\|", "").count("|") for row in table} for table in tables] == [{6}, {5}]
    assert "- numbers of A and B compare: **yes**, the same protocols on the same data" in lines


def test_only_and_ignore_take_classes_and_paths():
    assert diff("a.yaml", "b.yaml", "--only", "runtime").exit_code == 0
    told = json.loads(diff("a.yaml", "b.yaml", "--ignore", "label", "--ignore", "model", "--json").stdout)
    assert [each["path"] for each in told["differences"]] == ["train.batch_size", "export.opset"]


def test_three_experiments_make_a_table():
    Path("c.yaml").write_text("extends: a.yaml\ntrain: {batch_size: 128}\n")
    told = diff("a.yaml", "b.yaml", "c.yaml").stdout
    line = next(line for line in told.splitlines() if "train.batch_size" in line)
    assert line.split()[1:] == ["64", "256", "128"]


def test_runs_bundles_recipes_and_the_defaults_are_operands(folder):
    resolved = dump_yaml(load_experiment("a.yaml").experiment)
    for name, file in (("run", "resolved.yaml"), ("bundle", "spec.yaml")):
        (folder / name).mkdir()
        (folder / name / file).write_text(resolved)
    bundle = BundleManifest("b", "", "run", 1, "", ("image", "text"), ("fp32",), 20, "", {}, LISTED)
    (folder / "bundle/manifest.json").write_text(bundle.to_json())
    assert diff("a.yaml", "run").exit_code == 0
    assert diff("run", "bundle").exit_code == 0
    assert diff("quickstart", "defaults").exit_code == 1
    kinds = json.loads(diff("run", "bundle", "defaults", "--json").stdout)["operands"]
    assert [each["kind"] for each in kinds] == ["run", "bundle", "defaults"]


def test_html_is_one_page_with_every_setting_and_nothing_to_fetch_or_run():
    Path("b.yaml").write_text("extends: a.yaml\nname: b\ndescription: <script>alert(1)</script> & more\n")
    page = diff("a.yaml", "b.yaml", "--format", "html").stdout
    parser = Page()
    parser.feed(page)
    parser.close()
    assert {"description", "name"} <= parser.texts
    assert not parser.tags & {"script", "link", "img", "iframe"}
    assert "b.yaml:3" in parser.texts


class Page(HTMLParser):
    """Tags and texts of a document whose tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.open = set(), set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.add(data.strip())

    def close(self):
        super().close()
        assert self.open == []


def test_all_lists_what_is_the_same_too():
    told = diff("a.yaml", "b.yaml", "--all").stdout
    assert "SAME" in told
    assert "train.optimizer.lr" in told
    document = json.loads(diff("a.yaml", "b.yaml", "--all", "--json").stdout)
    assert {each["path"] for each in document["unchanged"]} >= {"train.seed", "model.joint_dim"}


def test_verdicts_are_about_everything_even_where_only_a_part_is_shown():
    document = json.loads(diff("a.yaml", "b.yaml", "--ignore", "model", "--json").stdout)
    assert document["verdicts"][0]["answer"] == "partly"


def test_three_experiments_cannot_be_mixed_into_a_patch():
    assert diff("a.yaml", "b.yaml", "defaults", "--format", "patch").exit_code == 2


@pytest.mark.parametrize(
    ("operands", "said"),
    [
        (["a.yaml", "nothing.yaml"], "no file nothing.yaml"),
        (["a.yaml", "."], "neither a run nor a checkpoint nor a bundle"),
        (["a.yaml"], "two experiments"),
        (["a.yaml", "broken.yaml"], "broken.yaml:1"),
        (["a.yaml", "lost"], "lost is a run without its spec"),
        (["a.yaml", "loose/step-3"], "a checkpoint without its run"),
        (["a.yaml", "b.yaml", "--only", "trian"], "Did you mean `train`?"),
        (["a.yaml", "b.yaml", "--ignore", "model.codebok.size"], "neither an effect class nor a setting"),
        (["a.yaml", "b.yaml", "--only", "run.versions"], "a.yaml is a spec"),
        (["a.yaml", "model.safetensors"], "holds weights"),
    ],
)
def test_trouble_exits_with_2_and_says_why(operands, said):
    Path("broken.yaml").write_text("a: [")
    Path("model.safetensors").write_bytes(b"\0" * 16)
    Path("lost").mkdir()
    Path("lost/manifest.json").write_text('{"format": 1}')
    Path("loose/step-3").mkdir(parents=True)
    result = diff(*operands)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.split())
