"""What one training does, step by step."""

import math
from dataclasses import replace

import pytest
import tiny_task
import torch

from cbalign.engine.checkpoint import read_model, read_state
from cbalign.engine.checkpoint_folder import list_checkpoints
from cbalign.engine.manifest import Manifest
from cbalign.errors import DataError, DivergenceError


def test_training_learns_and_leaves_a_complete_run(new_run):
    run = new_run()
    outcome = tiny_task.train(run)
    lines = tiny_task.metrics_of(run)
    errors = [line["validation/error"] for line in lines if line["kind"] == "evaluation"]
    assert errors[-1] < errors[0]
    assert outcome.metrics == {"validation/error": errors[-1]}
    assert outcome.steps == 24
    manifest = Manifest.read(run.manifest)
    assert manifest.status == "finished"
    assert manifest.metrics == outcome.metrics
    assert manifest.attempts[0].to_step == 24
    assert any(run.tensorboard.iterdir())


def test_every_step_is_logged_once_and_evaluated_when_due(new_run):
    run = new_run()
    tiny_task.train(run)
    lines = tiny_task.metrics_of(run)
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(3, 25, 3))
    assert [line["step"] for line in lines if line["kind"] == "evaluation"] == list(range(4, 25, 4))
    first = lines[0]
    assert first["epoch"] == 1.5
    assert first["loss"] == pytest.approx(first["loss/fit"] + 0.1 * first["loss/follow"], rel=1e-5)
    assert {"lr", "gradient_norm", "largest"} <= first.keys()


def test_logged_loss_is_the_mean_since_the_last_line(new_run):
    every, third = new_run(), new_run()
    tiny_task.train(every, section=tiny_task.settings(log_every="1 step"))
    tiny_task.train(third)
    each = [line["loss"] for line in tiny_task.metrics_of(every) if line["kind"] == "train"]
    means = [line["loss"] for line in tiny_task.metrics_of(third) if line["kind"] == "train"]
    assert means == pytest.approx([sum(each[i : i + 3]) / 3 for i in range(0, 24, 3)])


def test_an_epoch_has_whole_global_batches_and_no_sample_twice(new_run):
    task = tiny_task.TinyTask()
    tiny_task.train(new_run(), task)
    per_epoch = 8  # 11 micro-batches of 4, of which 2 global batches take 8
    assert len(task.seen) == 12 * per_epoch
    for epoch in range(12):
        batches = task.seen[epoch * per_epoch : (epoch + 1) * per_epoch]
        order = torch.randperm(tiny_task.SAMPLES, generator=torch.Generator().manual_seed(3 + epoch))
        assert [i for batch in batches for i in batch] == order[:32].tolist()


def test_accumulated_gradients_equal_those_of_the_whole_batch(new_run):
    """Without dropout, noise, queue and clipping, 4 micro-batches of 4 and 1 of 16 make the same step."""

    class Plain(tiny_task.TinyTask):
        def step(self, batch, progress):
            loss = (self.model(batch.inputs) - batch.targets).square().mean()
            return tiny_task.StepOutput(loss, {})

    weights = []
    for size in (4, 16):
        run, task = new_run(), Plain(batch_size=size)
        task.model.dropout.p = 0.0
        section = tiny_task.settings(batch_size=size, duration="1 steps", clip_norm=None)
        tiny_task.train(run, task, section)
        weights.append(read_model(run.latest_checkpoint())["first.weight"])
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize(("term", "value"), [("fit", math.nan), ("follow", math.inf)])
def test_divergence_names_term_and_samples_and_keeps_the_checkpoint(new_run, term, value):
    class Diverging(tiny_task.TinyTask):
        def step(self, batch, progress):
            output = super().step(batch, progress)
            if progress.step == 7 and progress.micro_step == 2:
                bad = output.terms[term] * value
                return replace(output, loss=output.loss + bad, terms={**output.terms, term: bad})
            return output

    run, task = new_run(), Diverging()
    with pytest.raises(DivergenceError) as caught:
        tiny_task.train(run, task)
    message = str(caught.value)
    assert caught.value.exit_code == 5
    assert f"step 8 of 24: loss/{term} is {value}; samples {task.seen[30]}" in message
    assert "step-5 is intact" in message
    assert Manifest.read(run.manifest).status == "diverged"

    reference = new_run()
    tiny_task.train(reference, section=tiny_task.settings(keep_checkpoints=9))
    kept, expected = run.checkpoints / "step-5", reference.checkpoints / "step-5"
    assert (kept / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()
    assert all(value.isfinite().all() for value in task.model.state_dict().values())


def test_a_gradient_that_is_not_finite_stops_before_the_step(new_run):
    class Diverging(tiny_task.TinyTask):
        def step(self, batch, progress):
            output = super().step(batch, progress)
            zero = self.model.first.bias.sum() * 0.0
            return replace(output, loss=output.loss + zero.sqrt())  # finite, with an infinite slope

    run, task = new_run(), Diverging()
    untouched = task.model.first.weight.clone()
    with pytest.raises(DivergenceError, match=r"gradient is not \(1 parameters, first first.bias\)"):
        tiny_task.train(run, task)
    assert torch.equal(task.model.first.weight, untouched)
    assert list_checkpoints(run.checkpoints) == []


def test_zero_steps_save_and_evaluate_the_initial_model(new_run):
    run = new_run()
    outcome = tiny_task.train(run, section=tiny_task.settings(duration="0.01 epochs"))
    assert read_state(run.latest_checkpoint()).step == 0
    assert "validation/error" in outcome.metrics


def test_too_little_data_for_one_batch_is_a_data_error(new_run):
    with pytest.raises(DataError, match="do not fill one batch of 64"):
        tiny_task.train(new_run(), section=tiny_task.settings(global_batch_size=64))


def test_bf16_autocast_is_on_in_steps_and_off_in_evaluation(new_run):
    seen = {}

    class Watching(tiny_task.TinyTask):
        def step(self, batch, progress):
            seen["step"] = self.model(batch.inputs).dtype
            return super().step(batch, progress)

        def evaluate(self, progress):
            seen["evaluate"] = self.model(self.inputs).dtype
            return super().evaluate(progress)

    tiny_task.train(new_run(), Watching(), tiny_task.settings(precision="bf16"))
    assert seen == {"step": torch.bfloat16, "evaluate": torch.float32}


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_precision_is_what_the_processor_has_and_stays_in_a_resumed_run(new_run, monkeypatch, has_bf16, precision):
    def processor(*, bf16):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": bf16})

    class Failing(tiny_task.TinyTask):
        def step(self, batch, progress):
            if progress.step == 6:
                raise RuntimeError("the power went")
            return super().step(batch, progress)

    run, section = new_run(), tiny_task.settings(precision="auto")
    processor(bf16=has_bf16)
    with pytest.raises(RuntimeError, match="power"):
        tiny_task.train(run, Failing(), section)
    processor(bf16=not has_bf16)
    tiny_task.train(run, section=section)
    attempts = Manifest.read(run.manifest).attempts
    assert [(attempt.status, attempt.precision) for attempt in attempts] == [
        ("failed", precision),
        ("finished", precision),
    ]
