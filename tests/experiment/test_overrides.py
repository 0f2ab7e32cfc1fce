"""`--set`."""

import pytest

from cbalign.experiment.load import load_experiment

EVALUATED = (
    "  validation: {source: openmoji, split: validation}\nevaluate:\n  - {on: validation}\n  - {on: train, top_k: 9}\n"
)


def value(loaded, path):
    found = loaded.experiment
    for step in path.split("."):
        found = found[int(step)] if step.isdecimal() else getattr(found, step)
    return found


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        ("train.optimizer.lr=3e-4", "train.optimizer.lr", 3e-4),
        ("train.optimizer.lr=1", "train.optimizer.lr", 1.0),
        ("train.clip_norm=null", "train.clip_norm", None),
        ("objectives.contrastive.intra_modal=false", "objectives.contrastive.intra_modal", False),
        ("train.duration=5 epochs", "train.duration", "5 epochs"),
        ("name=123", "name", "123"),
        ("description=a: b", "description", "a: b"),
        ("description=no", "description", "no"),
        ("description=[", "description", "["),
        ("description='null'", "description", "null"),
        ("train.optimizer={lr: 2e-4}", "train.optimizer.lr", 2e-4),
        ("evaluate.1.top_k=4", "evaluate.1.top_k", 4),
        ("+evaluate={on: train, top_k: 2}", "evaluate.2.top_k", 2),
        ("+evaluate.0.protocols=rerank", "evaluate.0.protocols", ("dual", "rerank")),
        ("evaluate.0.protocols.0=code", "evaluate.0.protocols", ("code",)),
        ("~evaluate.0", "evaluate.0.top_k", 9),
        ("~evaluate", "evaluate", ()),
        ("~train.seed", "train.seed", 0),
        ("~train", "train.seed", 0),
        ("export.graphs=[image, text]", "export.graphs", ("image", "text")),
        ("train.optimizer.betas.0=0.5", "train.optimizer.betas", (0.5, 0.999)),
    ],
)
def test_set_changes_one_value(load, override, path, expected):
    loaded = load(EVALUATED + "train: {seed: 3}\n", override)
    assert value(loaded, path) == expected


def test_the_last_set_of_a_path_counts_and_is_its_origin(load):
    loaded = load("train: {seed: 3}\n", "train.seed=4", "train.seed=5")
    assert loaded.experiment.train.seed == 5
    assert str(loaded.origins["train.seed"]) == "--set"


@pytest.mark.parametrize(
    "overrides",
    [
        ("train.schedule.kind=constant", "train.schedule.warmup=3 steps"),
        ("train.schedule.warmup=3 steps", "train.schedule.kind=constant"),
        ("train.schedule={kind: constant}", "train.schedule.warmup=3 steps"),
        ("train.schedule.warmup=3 steps", "train.schedule={kind: constant}"),
    ],
)
def test_a_change_of_kind_drops_the_files_settings_but_none_of_the_command_lines_in_any_order(load, overrides):
    loaded = load("train: {schedule: {final_lr: 0.5, warmup: 8 steps}}\n", *overrides)
    assert loaded.experiment.train.schedule.model_dump() == {"kind": "constant", "warmup": "3 steps", "warmup_lr": 0.0}


def test_set_reaches_into_recipes(folder):
    assert load_experiment("quickstart", ["evaluate.0.top_k=5"]).experiment.evaluate[0].top_k == 5
