"""Resolved specs and fingerprints."""

import yaml
from hypothesis import given

from cbalign.experiment.dump import as_data, dump_yaml, experiment_fingerprint
from cbalign.experiment.load import load_experiment
from tests.experiment.strategies import experiments


@given(experiment=experiments())
def test_a_resolved_spec_loads_to_the_same_experiment(experiment, tmp_path_factory):
    file = tmp_path_factory.mktemp("run") / "resolved.yaml"
    file.write_text(dump_yaml(absolute(experiment, file.parent)), encoding="utf-8")
    loaded = load_experiment(file, check_files=False).experiment
    assert loaded == absolute(experiment, file.parent)
    assert experiment_fingerprint(loaded) == experiment_fingerprint(absolute(experiment, file.parent))


@given(experiment=experiments())
def test_readers_of_yaml_1_1_see_the_same_values_but_for_the_key_on(experiment):
    assert on_as_text(yaml.safe_load(dump_yaml(experiment))) == escaped(as_data(experiment))


def test_names_notes_and_speed_leave_the_fingerprint_alone(load):
    base = experiment_fingerprint(load().experiment)
    same = load("description: other\ntrain: {device: cpu, log_every: 5 steps}\n", "name=other", "data.workers=3")
    assert experiment_fingerprint(same.experiment) == base
    assert experiment_fingerprint(load("train: {seed: 1}\n").experiment) != base


def test_a_default_written_out_leaves_the_fingerprint_alone(load):
    assert experiment_fingerprint(
        load("train: {seed: 0, optimizer: {lr: 0.00010}}\n").experiment
    ) == experiment_fingerprint(load().experiment)


def absolute(experiment, folder):
    """The experiment with its paths as loading makes them."""
    file = folder / "first.yaml"
    file.write_text(dump_yaml(experiment), encoding="utf-8")
    return load_experiment(file, check_files=False).experiment


def on_as_text(data):
    if isinstance(data, dict):
        return {"on" if key is True else key: on_as_text(value) for key, value in data.items()}
    return [on_as_text(item) for item in data] if isinstance(data, list) else data


def escaped(data):
    if isinstance(data, dict):
        return {key: escaped(value) for key, value in data.items()}
    if isinstance(data, list):
        return [escaped(item) for item in data]
    return data.replace("${", "$${") if isinstance(data, str) else data
