"""Names of the system that are not UTF-8, and variables of specs from other machines."""

import os
import sys

import pytest

from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.load import load_experiment

SPEC = "cbalign: 1\nname: x\ndata:\n  train: {source: csv, files: [a.csv], root: .}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_path_below_a_folder_whose_name_is_not_utf8_is_refused_at_its_place(tmp_path, monkeypatch):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    monkeypatch.chdir(folder)
    for name, text in (("spec.yaml", SPEC), ("a.csv", "image,caption\n")):
        with open(name, "w") as file:
            file.write(text)
    with pytest.raises(InvalidSpec) as caught:
        load_experiment("spec.yaml")
    first, second = caught.value.diagnostics
    assert (first.place.line, first.place.column, second.path) == (4, 32, "data.train.root")
    assert r"/caf\xe9/a.csv is not UTF-8" in first.message
    assert "PYTHONUTF8=1" in first.hint


@pytest.mark.parametrize("wrong", ["${HOME}", "${env:}/b", "${"])
def test_a_broken_reference_in_a_path_is_refused_even_if_files_are_not_checked(load, wrong):
    text = f"cbalign: 1\nname: x\ndata:\n  train: {{source: json, files: ['{wrong}'], root: .}}\n# extends\n"
    with pytest.raises(InvalidSpec) as caught:
        load(text, check_files=False)
    assert [each.path or each.place.line for each in caught.value.diagnostics] == [4]
    assert "is not a reference to an environment variable" in str(caught.value)


def test_an_unset_variable_in_a_path_is_accepted_if_files_are_not_checked(load):
    text = "cbalign: 1\nname: x\ndata:\n  train: {source: json, files: ['${env:D}/a.json'], root: .}\n# extends\n"
    assert load(text, check_files=False).experiment.data.train.files[0].endswith("$D/a.json")


def test_a_file_of_a_loop_of_links_is_missing(load, folder):
    (folder / "loop.json").symlink_to("loop.json")
    text = "cbalign: 1\nname: x\ndata:\n  train: {source: json, files: [loop.json], root: .}\n# extends\n"
    with pytest.raises(InvalidSpec, match=r"no file loop\.json"):
        load(text)


def test_a_base_that_is_extended_thousands_of_times_is_read_once(folder, monkeypatch):
    (folder / "base.yaml").write_text(SPEC.replace("csv, files: [a.csv], root: .", "openmoji, split: train"))
    (folder / "spec.yaml").write_text("extends: [" + ", ".join(["base.yaml"] * 3000) + "]\n")
    reads = []
    from cbalign.experiment import files

    read = files.read_file
    monkeypatch.setattr(files, "read_file", lambda path, name: reads.append(name) or read(path, name))
    assert load_experiment("spec.yaml").experiment.name == "x"
    assert len(reads) == 2


def test_thousands_of_mistakes_are_counted_and_the_first_hundred_explained(folder):
    (folder / "spec.yaml").write_text(
        "cbalign: 1\nname: x\ndata:\n  train: {source: openmoji, split: train}\n"
        + "".join(f"unknown{number}: 1\n" for number in range(9000))
    )
    with pytest.raises(InvalidSpec) as caught:
        load_experiment("spec.yaml")
    assert len(caught.value.diagnostics) == 101
    assert "8,900 more mistakes" in caught.value.diagnostics[-1].message
