"""Parts of installed distributions in the spec language, and those that cannot be used."""

from __future__ import annotations

import json

import pytest

from cbalign import __version__

from .conftest import SECTIONS, Site

HEAD = "cbalign: 1\nname: small\ndata: {train: {source: openmoji, split: train}}\n"
PLUGGED = """\
cbalign: 1
name: small
requires: [cbalign-fake>=1.0]
data: {train: {source: table, rows: 5}}
model: {codebook: {transport: greedy}}
objectives: {sigmoid: {bias: -5.0}}
log: {to: [lines, tensorboard]}
export: {precisions: [fp32, plain], targets: [listing]}
"""


def test_a_spec_can_name_parts_of_a_plugin(site: Site) -> None:
    site.install()
    site.write(PLUGGED)
    shown = site.run("show", "spec.yaml", "--resolved")
    assert shown.returncode == 0, shown.stderr
    assert "sigmoid:\n    weight: 1.0\n    every: 1\n    bias: -5.0\n" in shown.stdout
    assert "solver: greedy\n      rounds: 3\n" in shown.stdout
    assert "source: table\n    rows: 5\n" in shown.stdout
    for path, says in (("objectives.sigmoid.bias", "Initial bias b."), ("objectives.sigmoid", "Zhai et al.")):
        explained = site.run("explain", path)
        assert (explained.returncode, says in explained.stdout) == (0, True), explained.stderr
    schema = json.loads(site.run("schema").stdout)
    assert "bias" in schema["$defs"]["Sigmoid"]["properties"]
    assert "greedy" in schema["$defs"]["CodebookSection"]["properties"]["transport"]["anyOf"][0]["enum"]
    wrong = site.run("validate", "spec.yaml", "--set", "objectives.sigmoid.bais=1")
    assert "did you mean `bias`?" in wrong.stderr + wrong.stdout


def test_an_installed_plugin_changes_nothing_of_a_spec_that_does_not_use_it(site: Site) -> None:
    site.install()
    site.write(HEAD)
    found = [
        json.loads(site.run("show", "spec.yaml", "--resolved", "--json", installed=on).stdout) for on in (True, False)
    ]
    assert found[0] == found[1]


def test_diff_compares_an_objective_that_one_spec_lacks_setting_by_setting(site: Site) -> None:
    site.install()
    site.write(HEAD)
    site.write(HEAD + "objectives: {sigmoid: {bias: -5.0}}\n", "with.yaml")

    def differences(other: str) -> dict[str, str]:
        document = json.loads(site.run("diff", "spec.yaml", other, "--json").stdout)
        return {each["path"]: each["effect"] for each in document["differences"]}

    assert differences("spec.yaml") == {}
    found = differences("with.yaml")
    assert (found["objectives.sigmoid.weight"], found["objectives.sigmoid.bias"]) == ("architecture", "training")
    patch = site.run("diff", "with.yaml", "spec.yaml", "--format", "patch")
    (site.work / "change.yaml").write_text(patch.stdout)
    patched = site.run("show", "with.yaml", "--patch", "change.yaml", "--resolved")
    assert patched.returncode == 0, patched.stderr
    assert "sigmoid" not in patched.stdout


def test_ls_and_doctor_list_parts_with_their_distribution(site: Site) -> None:
    site.install()
    listed = json.loads(site.run("ls", "--parts", "--json").stdout)
    assert {
        "kind": "objective",
        "name": "sigmoid",
        "distribution": "cbalign-fake",
        "version": "1.2",
        "about": "L = -sum log sigma(y (z z / t + b)) (Zhai et al., 2023).",
    } in listed["parts"]
    assert listed["broken"] == []
    assert "cbalign-fake 1.2" in site.run("ls", "--parts").stdout
    checks = json.loads(site.run("doctor", "--json").stdout)["checks"]
    (check,) = (each for each in checks if each["name"] == "plug-in cbalign-fake")
    assert check["state"] == "ok"
    assert "solver greedy" in check["found"]


NO_HELP = SECTIONS.replace(', help="Initial bias b."', "")
NO_EFFECT = SECTIONS.replace('effect=Effect.TRAINING, help="Initial bias b."', 'help="Initial bias b."')
LIST = SECTIONS.replace("setting(-10.0, ", "setting([-10.0], ")
COMPLEX = SECTIONS.replace("bias: float", "bias: complex")
OTHER_NAME = SECTIONS.replace('name = "sigmoid"', 'name = "sigma"')


@pytest.mark.parametrize(
    ("sections", "requires", "reason"),
    [
        ("import nowhere_to_be_found\n", (), "fake:Sigmoid cannot be imported: ModuleNotFoundError"),
        ("raise SystemError('broken')\n", (), "fake:Sigmoid cannot be imported: SystemError: broken"),
        ("Sigmoid = dict\n", (), "fake:Sigmoid is not a class derived from ObjectiveSection"),
        (OTHER_NAME, (), "is named `sigma`, but its entry point `sigmoid`"),
        (NO_HELP, (), "its setting `bias` has no help text"),
        (NO_EFFECT, (), "its setting `bias` has no effect class"),
        (COMPLEX, (), "its setting `bias`: the spec language has no setting of type <class 'complex'>"),
        (LIST, (), "the default of the setting 'Initial bias b.' is a list; write a tuple (__init__.py, line 15)"),
        (SECTIONS, ("cbalign>=99",), f"it requires cbalign>=99, but this is cbalign {__version__}"),
    ],
)
def test_a_part_that_cannot_be_used_is_reported_and_the_others_work(
    site: Site, sections: str, requires: tuple[str, ...], reason: str
) -> None:
    site.install(sections=sections, requires=requires, entries={"cbalign.objectives": {"sigmoid": "Sigmoid"}})
    site.install("cbalign-other", module="other", entries={"cbalign.solvers": {"greedy": "Greedy"}})
    site.write(HEAD + "model: {codebook: {transport: greedy}}\n")
    works = site.run("validate", "spec.yaml")
    assert works.returncode == 0, works.stderr
    (warning,) = (line for line in works.stderr.splitlines() if line.startswith("warning:"))
    assert warning.startswith("warning: cbalign-fake 1.2: its part `sigmoid` in cbalign.objectives is unusable: ")
    assert reason in warning
    site.write(HEAD + "objectives: {sigmoid: {weight: 1.0}}\n")
    fails = site.run("validate", "spec.yaml")
    assert fails.returncode == 2
    assert "`objectives` has no setting `sigmoid`" in fails.stderr + fails.stdout
    assert "hint: cbalign-fake 1.2 provides it, but it is unusable: " in fails.stderr + fails.stdout
    assert site.run("ls", "--parts").stderr.count("warning:") == 1
    checks = json.loads(site.run("doctor", "--json").stdout)["checks"]
    assert {"plug-in cbalign-fake": "problem", "plug-in cbalign-other": "ok"}.items() <= {
        check["name"]: check["state"] for check in checks
    }.items()


TASK = """
from typing import Literal
from cbalign.parts import Effect, TaskSection, setting


class Count(TaskSection):
    \"\"\"How many things are there?\"\"\"

    builds = "{module}.builders:Greedy"
    graphs = GRAPHS

    kind: Literal["count"] = setting(effect=Effect.ARCHITECTURE, help="Which task.")
"""


@pytest.mark.parametrize("graphs", ["'count'", "property(lambda task: ('count',))", "('../count',)"])
def test_a_task_whose_graphs_are_not_names_is_reported_and_the_others_work(site: Site, graphs: str) -> None:
    site.install(sections=TASK.replace("GRAPHS", graphs), entries={"cbalign.tasks": {"count": "Count"}})
    site.write(HEAD)
    works = site.run("validate", "spec.yaml")
    assert works.returncode == 0, works.stderr
    assert "`count` in cbalign.tasks is unusable: fake:Count: `graphs` is not a tuple of names" in works.stderr


def test_two_plugins_with_one_name_are_both_left_out(site: Site) -> None:
    for name, module in (("cbalign-fake", "fake"), ("cbalign-twin", "twin")):
        site.install(name, module=module, entries={"cbalign.solvers": {"greedy": "Greedy"}})
    site.write(HEAD + "model: {codebook: {transport: greedy}}\n")
    found = site.run("validate", "spec.yaml")
    assert found.returncode == 2
    assert "cbalign-twin 1.2 has a part of the same name; uninstall one of them" in found.stderr
    assert (
        "`model.codebook.transport.solver` must be centring, ipot or sinkhorn, not the text 'greedy'"
        in found.stderr + found.stdout
    )


def test_a_plugin_cannot_replace_a_part_of_cbalign(site: Site) -> None:
    sections = SECTIONS.replace('"greedy"', '"ipot"')
    site.install(sections=sections, entries={"cbalign.solvers": {"ipot": "Greedy"}})
    (part,) = json.loads(site.run("ls", "--parts", "--json").stdout)["broken"]
    assert part["reason"] == f"cbalign {__version__} has a part of the same name; uninstall one of them"


def test_a_builder_that_disagrees_with_its_section_is_one_message(site: Site) -> None:
    site.install()
    printed = site.code(
        "from cbalign.errors import PartError\n"
        "from cbalign.experiment.unions import usable\n"
        "from cbalign.parts.registry import OBJECTIVES, SOLVERS, SOURCES\n"
        "def build(section, *more):\n"
        "    try: print(type(section.build(*more)).__name__)\n"
        "    except PartError as error: print(error.message)\n"
        "build(usable(SOLVERS)['greedy'](solver='greedy'))\n"
        "build(usable(SOURCES)['table'](source='table'), 'pairs')\n"
        "build(usable(OBJECTIVES)['sigmoid'](), None)\n"
    )
    built, disagrees, missing = printed.splitlines()
    assert built == "Greedy"
    assert disagrees == (
        "table (cbalign-fake 1.2) builds fake.builders:open_table, which cannot be called with (Table, str): "
        "too many positional arguments"
    )
    assert missing.startswith("sigmoid (cbalign-fake 1.2) builds fake.builders:SigmoidLoss, which cannot be imported")


def test_a_spec_whose_plugin_is_missing_or_too_old_says_which(site: Site) -> None:
    site.install(version="0.9")
    site.write(PLUGGED)
    old = site.run("validate", "spec.yaml")
    assert old.returncode == 2
    said = old.stderr + old.stdout
    assert "spec.yaml:3:12: this spec needs cbalign-fake>=1.0, but cbalign-fake 0.9 is installed" in said
    assert "hint: pip install 'cbalign-fake>=1.0'" in said
    assert "has no setting" not in said
    missing = site.run("validate", "spec.yaml", installed=False)
    said = missing.stderr + missing.stdout
    assert "this spec needs cbalign-fake>=1.0, which is not installed" in said
    assert said.count("cbalign-fake") == 3  # the message, its excerpt and the hint
    assert "sigmoid" not in said, "parts of the missing distribution are not reported one by one"
    assert "greedy" not in said


def test_a_setting_without_help_costs_only_the_part_that_has_it(site: Site) -> None:
    site.install(sections=NO_HELP)
    listed = json.loads(site.run("ls", "--parts", "--json").stdout)
    assert [part["name"] for part in listed["broken"]] == ["sigmoid"]
    assert {"table", "greedy", "plain"} <= {part["name"] for part in listed["parts"]}


def test_explain_shows_where_an_objective_is_from_and_which_are_on_by_default(site: Site) -> None:
    site.install()
    listed, own, theirs, setting = (
        site.run("explain", path).stdout
        for path in ("objectives", "objectives.matching", "objectives.sigmoid", "objectives.sigmoid.bias")
    )
    states = {words[0]: words[1] for line in listed.splitlines() if (words := line.split())[:1] and "." in words[0]}
    assert (states["objectives.matching"], states["objectives.sigmoid"]) == ("on", "off")
    assert "by default  on; `weight: 0` switches it off" in own
    assert "by default  off, unless the spec names it" in theirs
    assert ("cbalign" in own, "cbalign-fake 1.2" in theirs, "cbalign-fake 1.2" in setting) == (False, True, True)
    document = json.loads(site.run("explain", "objectives.sigmoid", "--json").stdout)
    assert document["settings"][0]["from"] == ["cbalign-fake 1.2"]


def test_a_section_that_imports_torch_is_reported(site: Site) -> None:
    site.install(sections=f"import torch\n{SECTIONS}")
    (site.folder / "torch").mkdir()
    (site.folder / "torch" / "__init__.py").write_text("__version__ = '2.9'\nclass version: cuda = None\n")
    problem = "fake imports torch, which every command then has to wait for"
    listed = site.run("ls", "--parts", "--json")
    assert f"warning: cbalign-fake 1.2: {problem}" in listed.stderr
    assert json.loads(listed.stdout)["warnings"] == [f"cbalign-fake 1.2: {problem}"]
    checks = {check["name"]: check for check in json.loads(site.run("doctor", "--json").stdout)["checks"]}
    assert checks["plug-in cbalign-fake"]["state"] == "problem"
    assert problem in checks["plug-in cbalign-fake"]["found"]


READS_TSV = SECTIONS.replace(
    "    rows: int",
    '''    @classmethod
    def of_file(cls, path, items):
        """Read TSV files."""
        return cls(source="table") if path.suffix == ".tsv" else None

    rows: int''',
)


def test_files_are_read_by_sources_of_plugins_first(site: Site) -> None:
    site.install(sections=READS_TSV, entries={"cbalign.sources": {"table": "Table"}})
    code = (
        "from pathlib import Path\n"
        "from cbalign.errors import UsageError\n"
        "from cbalign.data.source import source_of_file\n"
        "for name in ('a.tsv', 'a.csv'):\n"
        "    try: print(source_of_file(Path(name), 'pairs').source)\n"
        "    except UsageError as error: print(error.message)\n"
    )
    assert site.code(code) == "table\ncsv\n"
    twin = READS_TSV.replace('"table"', '"desk"')
    site.install("cbalign-twin", module="twin", sections=twin, entries={"cbalign.sources": {"desk": "Table"}})
    several, one = site.code(code).splitlines()
    assert several == ("a.tsv: several sources read such a file: desk (cbalign-twin 1.2), table (cbalign-fake 1.2)")
    assert one == "csv"
