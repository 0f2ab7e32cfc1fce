"""Which modules read which setting."""

import pytest

from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import Leaf, every, find
from tests.experiment.usage import readers

VALUES = {
    f"{found.path}:{found.variant}": found
    for found in every(Experiment)
    if isinstance(found.setting.shape, Leaf) and len(found.setting.shape.choices) != 1
}


@pytest.mark.parametrize("name", VALUES)
def test_each_setting_that_can_be_chosen_is_read_by_something(name):
    assert readers(VALUES[name])


@pytest.mark.parametrize(
    ("path", "modules"),
    [
        ("model.codebook.transport.beta", ["cbalign.models.build"]),  # a member of a union
        ("data.train.delimiter", ["cbalign.data.csv_pairs"]),  # where the source is opened
        ("evaluate.0.top_k", ["cbalign.evaluation.retrieval"]),  # an item of a list
        ("train.optimizer.betas", ["cbalign.engine.optimizer"]),  # handed over as an argument
        ("model.teacher.ramp_epochs", ["cbalign.tasks.align.learner"]),  # kept in an attribute of an object
        ("cbalign", []),
    ],
)
def test_readers_are_found_however_the_section_gets_there(path, modules):
    assert set(modules) <= set(readers(find(Experiment, path)[0]))
    assert modules or not readers(find(Experiment, path)[0])
