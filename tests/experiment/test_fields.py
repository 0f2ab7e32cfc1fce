"""Every setting declares what it is."""

import pytest

from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import every, find_settings, leaves
from cbalign.experiment.shapes import Leaf
from cbalign.experiment.suggestions import SYNONYMS
from cbalign.parts.section import Effect

SETTINGS = {f"{found.path}:{found.variant}": found for found in every(Experiment)}


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_has_help_and_each_value_an_effect_class(name):
    found = SETTINGS[name]
    assert found.setting.help.strip()
    assert found.setting.help[0] != " "
    assert isinstance(found.effect, Effect) or not isinstance(found.setting.shape, Leaf)


def test_every_value_of_an_experiment_is_a_setting_that_can_be_explained(load):
    experiment = load("evaluate: [{on: train}]\n").experiment
    for path, _, effect in leaves(experiment):
        assert effect in {found.effect for found in find_settings(Experiment, path)}


@pytest.mark.parametrize("path", sorted(set(SYNONYMS.values())))
def test_what_other_tools_call_it_names_a_setting_of_ours(path):
    assert find_settings(Experiment, path)


def test_effects_are_ordered_worst_first():
    assert [effect.value for effect in sorted(Effect, key=lambda effect: effect.severity)] == [
        "architecture", "initialisation", "data", "training", "evaluation", "export", "runtime", "label",
    ]  # fmt: skip
