"""`--best METRIC` and `RUN/checkpoints/step-N`: evaluate and export another checkpoint than the newest."""

import json

import pytest

from cbalign.api.runs import Run
from tests.cli.tiny import cbalign, write_experiment

STEPS = range(1, 7)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_experiment(tmp_path_factory.mktemp("best"))


def trained(place, *settings):
    every_step = ("train.evaluate_every=1 step", "train.checkpoint_every=1 step", "train.optimizer.lr=0.01")
    result = cbalign(place, "train", "spec.yaml", *(f"--set={each}" for each in (*every_step, *settings)))
    assert result.code == 0, result.stderr
    return place / result.stdout.strip()


@pytest.fixture(scope="module")
def run(place):
    """Evaluated after each of 6 steps, with all checkpoints."""
    return trained(place, "train.keep_checkpoints=9")


@pytest.fixture(scope="module")
def logged(run):
    """The metrics of each evaluation, by step."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if line["kind"] == "evaluation"}


@pytest.fixture(scope="module")
def metric(logged):
    """A metric that is best before the end, and by which the last step is not as good."""
    for name in logged[6]:
        if name.startswith("validation/") and best_step(logged, name) != 6:
            return name
    raise AssertionError("every metric is best at the end")


def best_step(logged, name):
    sign = -1 if name.endswith("rank") else 1
    values = {step: sign * logged[step][name] for step in STEPS}
    return min(step for step in STEPS if values[step] == max(values.values()))


def test_evaluate_takes_the_best_by_a_metric_and_any_checkpoint_by_its_path(run, place, logged, metric):
    step = best_step(logged, metric)
    asked = {
        6: [str(run)],
        step: [str(run), "--best", metric],
        2: [f"{run}/checkpoints/step-2"],
        3: ["runs/latest/checkpoints/step-3"],
    }
    for wanted, words in asked.items():
        result = cbalign(place, "evaluate", *words, "--json")
        assert result.code == 0, result.stderr
        found = json.loads(result.stdout)
        assert found["step"] == wanted
        ranks = found["results"][0]["text_to_image"]["metrics"]["mean_rank"]
        assert ranks == pytest.approx(logged[wanted]["validation/dual/text_to_image/mean_rank"])
    assert f"step {step}, torch" in cbalign(place, "evaluate", str(run), "--best", metric).stdout


def test_the_mean_of_a_pattern_chooses_too(run, logged):
    names = [f"validation/dual/{way}/r{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)]
    means = {step: sum(logged[step][name] for name in names) for step in STEPS}
    expected = min(step for step in STEPS if means[step] == pytest.approx(max(means.values())))
    assert Run(run).best("validation/dual/*/r*") == run / "checkpoints" / f"step-{expected}"


def test_export_takes_the_best(run, place, logged, metric):
    result = cbalign(place, "export", str(run), "--best", metric, "--precision", "fp32", "--output", "bundle")
    assert result.code == 0, result.stderr
    assert json.loads((place / "bundle" / "manifest.json").read_text())["step"] == best_step(logged, metric)


def test_a_training_keeps_its_best_checkpoint(place, logged, metric):
    run = trained(place, "train.keep_checkpoints=1", f"train.keep_best={metric}")
    kept = {path.name for path in (run / "checkpoints").glob("step-*")}
    assert kept == {"step-6", f"step-{best_step(logged, metric)}"}
    shown = cbalign(place, "runs", "show", str(run)).stdout
    assert f"step-{best_step(logged, metric)} (best" in shown


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--best", "validation/acuracy"], 2, ("no metric 'validation/acuracy'", "validation/dual/image_to_text/r1")),
        (["--best", "r1"], 2, ("the end of 2 metrics", "*/r1")),
    ],
)
@pytest.mark.parametrize("verb", ["evaluate", "export"])
def test_a_wrong_metric_is_answered_with_those_there_are(run, place, verb, words, code, told):
    result = cbalign(place, verb, str(run), *words)
    assert (result.code, result.stdout) == (code, "")
    assert all(each in result.stderr for each in told)


@pytest.mark.parametrize("verb", ["evaluate", "export"])
def test_a_step_that_does_not_exist_is_answered_with_those_there_are(run, place, verb):
    result = cbalign(place, verb, f"{run}/checkpoints/step-7")
    assert (result.code, result.stdout) == (3, "")
    assert "has no checkpoint step-7" in result.stderr
    assert "step-1, step-2, step-3, step-4, step-5, step-6" in result.stderr


def test_best_is_refused_where_there_is_nothing_to_choose_from(run, place):
    result = cbalign(place, "evaluate", f"{run}/checkpoints/step-2", "--best", "r1")
    assert result.code == 2
    assert "--best chooses among the checkpoints of a run" in result.stderr
