"""What `extends`, profiles and the environment make of a spec, and where its values say they are from."""

import pytest

from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.load import load_experiment
from tests.experiment.conftest import HEAD


def test_a_file_overrides_what_it_extends_and_each_value_says_which_line_set_it(load):
    loaded = load("extends: base.yaml\ntrain:\n  seed: 2\n", base=HEAD + "train: {seed: 1, batch_size: 8}\n")
    assert (loaded.experiment.train.seed, loaded.experiment.train.batch_size) == (2, 8)
    origins = {path: str(loaded.origins[f"train.{path}"]) for path in ("seed", "batch_size", "precision")}
    assert origins == {"seed": "spec.yaml:3", "batch_size": "base.yaml:5", "precision": "default"}


def test_lists_are_replaced_and_not_joined(load):
    base = HEAD + "  validation: {source: openmoji, split: validation}\nevaluate: [{on: train}, {on: validation}]\n"
    loaded = load("extends: base.yaml\nevaluate: [{on: train, top_k: 5}]\n", base=base)
    assert [each.top_k for each in loaded.experiment.evaluate] == [5]


def test_a_section_of_another_kind_replaces_the_one_it_extends(load):
    base = HEAD + "train: {schedule: {kind: cosine, final_lr: 0.5, warmup: 7 steps}}\n"
    schedule = load("extends: base.yaml\ntrain: {schedule: {kind: constant}}\n", base=base).experiment.train.schedule
    assert schedule.model_dump() == {"kind": "constant", "warmup": "0 steps", "warmup_lr": 0.0}


def test_a_kind_that_goes_without_saying_counts_as_said(load):
    base = HEAD + "train: {schedule: {final_lr: 0.5}}\n"
    same = load("extends: base.yaml\ntrain: {schedule: {kind: cosine, warmup: 1 epoch}}\n", base=base)
    assert same.experiment.train.schedule.final_lr == 0.5
    other = load("extends: base.yaml\ntrain: {schedule: {kind: constant, warmup: 1 epoch}}\n", base=base)
    assert other.experiment.train.schedule.kind == "constant"


def test_another_source_leaves_nothing_of_the_old_one(load, folder):
    (folder / "pairs.json").write_text("[]")
    text = "extends: base.yaml\ndata: {train: {source: json, files: [pairs.json]}}\n"
    train = load(text, base=HEAD).experiment.data.train
    assert train.files == (str(folder / "pairs.json"),)


def test_bases_that_disagree_are_fine_once_the_file_decides(load):
    bases = {"a": HEAD + "train: {seed: 1}\n", "b": HEAD + "train: {seed: 2}\n"}
    with pytest.raises(InvalidSpec, match=r"two bases set `train.seed` differently: 1 .*a.yaml:5.* and 2 .*b.yaml:5"):
        load("extends: [a.yaml, b.yaml]\n", **bases)
    assert load("extends: [a.yaml, b.yaml]\ntrain: {seed: 3}\n", **bases).experiment.train.seed == 3


@pytest.mark.parametrize("order", ["[a.yaml, b.yaml]", "[b.yaml, a.yaml]"])
def test_what_one_base_changed_and_the_other_inherits_is_no_disagreement(load, order):
    common = HEAD + "train: {seed: 1, batch_size: 8}\n"
    a, b = "extends: common.yaml\ntrain: {seed: 5}\n", "extends: common.yaml\ntrain: {batch_size: 4}\n"
    train = load(f"extends: {order}\n", a=a, b=b, common=common).experiment.train
    assert (train.seed, train.batch_size) == (5, 4)


def test_bases_of_different_kinds_disagree(load):
    a, b = (HEAD + f"train: {{schedule: {{kind: {kind}}}}}\n" for kind in ("cosine", "constant"))
    with pytest.raises(InvalidSpec, match=r"two bases set `train.schedule` differently"):
        load("extends: [a.yaml, b.yaml]\n", a=a, b=b)


def test_a_base_is_looked_for_beside_the_file_that_names_it(folder):
    (folder / "specs/base").mkdir(parents=True)
    (folder / "specs/base/common.yaml").write_text(HEAD + "train: {seed: 4}\n")
    (folder / "specs/base/tiny.yaml").write_text("extends: common\n")
    (folder / "specs/mine.yaml").write_text("extends: base/tiny.yaml\n")
    loaded = load_experiment("specs/mine.yaml")
    assert loaded.experiment.train.seed == 4
    assert [path.name for path in loaded.files] == ["common.yaml", "tiny.yaml", "mine.yaml"]


def test_a_recipe_can_be_loaded_and_extended_by_name(load):
    recipe = load_experiment("quickstart").experiment
    mine = load("extends: quickstart\nname: mine\n").experiment
    assert mine.model_copy(update={"name": recipe.name}) == recipe


def test_a_profile_lies_on_top_of_the_file_that_offers_it(load):
    text = "train: {seed: 1, batch_size: 8}\nprofiles: {debug: {train: {batch_size: 2}}, big: {train: {seed: 99}}}\n"
    assert load(text).experiment.train.batch_size == 8
    assert load(text).profiles == ("debug", "big")
    train = load(text, profiles=["debug"]).experiment.train
    assert (train.seed, train.batch_size) == (1, 2)


def test_profiles_are_inherited(load):
    base = HEAD + "profiles: {debug: {train: {seed: 7}}}\n"
    assert load("extends: base.yaml\n", base=base, profiles=["debug"]).experiment.train.seed == 7


def test_environment_variables_have_the_type_of_their_looks_unless_quoted(load):
    text = "description: 'by ${env:WHO}, $${env:WHO}'\ntrain:\n  seed: ${env:SEED}\n"
    loaded = load(text, environment={"WHO": "me", "SEED": "12"})
    assert loaded.experiment.train.seed == 12
    assert loaded.experiment.description == "by me, ${env:WHO}"


def test_paths_belong_to_the_file_that_writes_them(folder, monkeypatch):
    (folder / "here/pictures").mkdir(parents=True)
    (folder / "here/pairs.csv").write_text("image,caption\n")
    (folder / "here/base.yaml").write_text(
        "cbalign: 1\nname: x\ndata:\n  train: {source: csv, files: [pairs.csv], root: pictures}\n"
    )
    (folder / "mine.yaml").write_text("extends: here/base.yaml\n")
    train = load_experiment("mine.yaml").experiment.data.train
    assert (train.files, train.root) == ((str(folder / "here/pairs.csv"),), str(folder / "here/pictures"))
    moved = load_experiment("mine.yaml", ["data.train.root=here"]).experiment.data.train
    assert moved.root == str(folder / "here")


def test_a_root_that_nobody_wrote_is_the_folder_of_the_spec(folder):
    (folder / "here").mkdir()
    (folder / "here/pairs.csv").write_text("image,caption\n")
    (folder / "here/spec.yaml").write_text("cbalign: 1\nname: x\ndata:\n  train: {source: csv, files: [pairs.csv]}\n")
    loaded = load_experiment("here/spec.yaml")
    assert loaded.experiment.data.train.root == str(folder / "here")
    assert str(loaded.origins["data.train.root"]) == "default"


def test_missing_data_are_no_mistake_where_nobody_asks_for_them(folder):
    (folder / "spec.yaml").write_text("cbalign: 1\nname: x\ndata:\n  train: {source: csv, files: [gone.csv]}\n")
    with pytest.raises(InvalidSpec, match=r"spec.yaml:4:32: no file gone.csv"):
        load_experiment("spec.yaml")
    assert load_experiment("spec.yaml", check_files=False).experiment.data.train.files == (str(folder / "gone.csv"),)


def test_files_that_all_extend_each_other_twice_are_composed_once(load):
    files = {f"f{i}": f"extends: [f{i + 1}.yaml, f{i + 1}.yaml]\n" for i in range(14)}
    loaded = load("extends: f0.yaml\n", **files, f14=HEAD)
    assert len(loaded.files) == 16


def test_a_long_chain_of_bases_ends(load):
    files = {f"f{i}": f"extends: f{i + 1}.yaml\n" for i in range(30)}
    with pytest.raises(InvalidSpec, match="more than 16 files extend each other"):
        load("extends: f0.yaml\n", **files)
