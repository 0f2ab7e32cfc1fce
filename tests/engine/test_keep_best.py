"""The best checkpoint by a metric outlives newer ones."""

import pytest
import tiny_task
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from cbalign.engine.checkpoint import read_state
from cbalign.engine.checkpoint_folder import checkpoint_steps
from cbalign.errors import CheckpointError, UsageError
from cbalign.lab.runs.best import best_checkpoint
from cbalign.parts.metrics import Criterion

EVALUATED = (4, 8, 12, 16, 20, 24)


def train(run, keep_best, task=None, **settings):
    tiny_task.train(run, task or tiny_task.WaveringTask(), tiny_task.settings(keep_best=keep_best, **settings))
    return checkpoint_steps(run.checkpoints)


@pytest.mark.parametrize("metric", ["validation/wavering", "wavering", "validation/mean_rank", "*/waver*"])
def test_the_best_checkpoint_is_kept_next_to_the_newest(new_run, metric):
    run = new_run()
    assert train(run, metric) == [8, 20, 24]
    assert (run.checkpoints / "best").read_text() == "step-8\n"
    assert best_checkpoint(run, metric) == run.checkpoints / "step-8"
    assert read_state(run.checkpoints / "step-8").step == 8


def test_without_a_metric_only_the_newest_are_kept(new_run):
    run = new_run()
    assert train(run, None) == [20, 24]
    assert not (run.checkpoints / "best").exists()
    with pytest.raises(CheckpointError, match=r"was step-8 \(18\), which is not kept") as caught:
        best_checkpoint(run, "wavering")
    assert "step-20 (9), step-24 (1)" in str(caught.value)
    assert "train.keep_best" in str(caught.value)


def test_a_training_that_keeps_its_best_computes_the_same(new_run):
    with_best, without = new_run(), new_run()
    train(with_best, "validation/wavering")
    train(without, None)
    for name in ("model.safetensors", "state.json"):
        assert (with_best.latest_checkpoint() / name).read_bytes() == (without.latest_checkpoint() / name).read_bytes()
    assert tiny_task.metrics_of(with_best) == tiny_task.metrics_of(without)


class Scripted(tiny_task.TinyTask):
    def __init__(self, values):
        super().__init__()
        self.values = values

    def evaluate(self, progress):
        return {"validation/accuracy": self.values[progress.step]}


@examples(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=st.lists(st.sampled_from([1.0, 2.0, 3.0, float("nan")]), min_size=6, max_size=6))
def test_the_first_of_the_best_finite_values_is_kept(new_run, values):
    by_step = dict(zip(EVALUATED, values))
    run = new_run()
    kept = train(run, "accuracy", Scripted(by_step))
    finite = {step: value for step, value in by_step.items() if value == value}
    best = [min(step for step, value in finite.items() if value == max(finite.values()))] if finite else []
    assert kept == sorted({*best, *[step for step in (5, 10, 15, 20, 24) if step not in best][-2:]})


def test_a_metric_that_is_set_on_resume_keeps_the_best_of_what_is_there(new_run):
    run = new_run()
    task = tiny_task.WaveringTask()

    def stop(event):
        if event == "step" and len(task.seen) == 4 * 17:
            raise KeyboardInterrupt

    task.hook = stop
    with pytest.raises(KeyboardInterrupt):
        train(run, None, task)
    assert checkpoint_steps(run.checkpoints) == [10, 15]
    assert train(run, "validation/wavering", checkpoint_every="4 steps") == [16, 20, 24]
    assert (run.checkpoints / "best").read_text() == "step-20\n"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("validation/acuracy", "There is no metric 'validation/acuracy'.*validation/error, validation/wavering"),
        ("validation/*", "smaller values are better and others of which larger ones are"),
    ],
)
def test_a_metric_that_there_is_not_is_said_with_those_there_are(new_run, word, told):
    with pytest.raises(UsageError) as caught:
        train(new_run(), word)
    caught.match(f"(?s){told}")


def test_an_end_of_several_names_is_ambiguous_and_a_pattern_is_their_mean():
    metrics = {"validation/dual/image_to_text/r1": 10.0, "validation/dual/text_to_image/r1": 30.0}
    with pytest.raises(UsageError, match=r"the end of 2 metrics(?s:.)*'\*/r1'"):
        Criterion.of("r1", metrics)
    assert Criterion.of("*/r1", metrics).value(metrics) == 20
    assert Criterion.of("image_to_text/r1", metrics).value(metrics) == 10
