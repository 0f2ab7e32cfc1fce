"""Learning rates, and which step does what."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from timm.scheduler import CosineLRScheduler
from tiny_task import settings
from torch import nn
from torch.optim import SGD

from cbalign.engine.schedule import build_schedule
from cbalign.engine.sections.schedules import ConstantSection, CosineSection
from cbalign.engine.step_schedule import build_step_schedule
from cbalign.engine.task import Progress
from cbalign.errors import UsageError
from cbalign.experiment.load import load_experiment

RECORDED = json.loads(Path(__file__).parents[1].joinpath("reference", "learning-rates.json").read_text())
RATES = st.floats(1e-7, 1.0)


def cosine(warmup, total, peak=1e-4, first=1e-5, last=2e-5, per_epoch=10):
    section = CosineSection(warmup=warmup, warmup_lr=first, final_lr=last)
    return section.build(peak, per_epoch, total)


def is_monotonic(rates, towards):
    """Never a step away from the last rate, but for the rounding of one multiplication and addition."""
    gaps = [abs(rate - towards) for rate in rates]
    return all(after <= before + 1e-15 * max(rates) for before, after in pairwise(gaps))


@example(peak=0.026419345372213736, first=0.026419345372213736, last=1.0, warmup=1, rest=2)
@given(peak=RATES, first=RATES, last=RATES, warmup=st.integers(0, 50), rest=st.integers(2, 300))
def test_cosine_meets_its_three_rates_and_stays_between_them(peak, first, last, warmup, rest):
    total = warmup + rest
    schedule = cosine(f"{warmup} steps", total, peak, first, last)
    rates = [schedule(step) for step in range(total)]
    assert rates[warmup] == peak
    assert rates[-1] == last
    if warmup:
        assert rates[0] == first
    assert min(first, peak, last) * 0.999 <= min(rates)
    assert max(rates) <= max(first, peak, last) * 1.001
    assert is_monotonic(rates[: warmup + 1], towards=peak)
    assert is_monotonic(rates[warmup:], towards=last)


def test_cosine_is_half_way_down_in_the_middle():
    schedule = cosine("10 steps", 111, peak=1.0, first=0.0, last=0.5)
    assert schedule(60) == pytest.approx(0.75)
    assert schedule(5) == pytest.approx(0.5)


@pytest.mark.parametrize("recipe", sorted(RECORDED))
def test_published_recipes_have_the_recorded_rate_of_albefs_code_at_every_step(recipe, monkeypatch):
    for name in ("CBALIGN_DATA", "CBALIGN_RUN", "CBALIGN_PRETRAINED"):
        monkeypatch.setenv(name, "elsewhere")
    train, albef = (
        load_experiment(f"paper/{recipe}{method}", check_files=False).experiment.train for method in ("", "-albef")
    )
    assert train == albef
    per_epoch, total = RECORDED[recipe]["steps_per_epoch"], RECORDED[recipe]["steps"]
    batches = per_epoch * train.global_batch_size // train.batch_size
    table = build_step_schedule(train, batches_per_epoch=batches, processes=1)
    assert (table.steps_per_epoch, table.total_steps) == (per_epoch, total)
    schedule = build_schedule(train.schedule, train.optimizer.lr, per_epoch, total)
    changes = [*RECORDED[recipe]["changes"], [total, None]]
    for (first, rate), (end, _) in pairwise(changes):
        assert {schedule(step) for step in range(first, end)} == {rate}, f"steps {first} to {end - 1}"


def rates_of_albef(per_epoch, epochs, hundreds, peak, first, last):
    """The rates of ALBEF's training loop (Pretrain.py) around timm's scheduler, of which its own is a copy."""
    optimizer = SGD([nn.Parameter()], lr=peak)
    scheduler = CosineLRScheduler(
        optimizer, t_initial=epochs, lr_min=last, warmup_t=hundreds, warmup_lr_init=first, warmup_prefix=True
    )
    for epoch in range(epochs):
        if epoch > 0:
            scheduler.step(epoch + hundreds)
        for i in range(per_epoch):
            yield optimizer.param_groups[0]["lr"]
            if epoch == 0 and i % 100 == 0 and i <= hundreds * 100:
                scheduler.step(i // 100)


@examples(max_examples=50)
@given(
    peak=RATES,
    first=RATES,
    last=RATES,
    hundreds=st.integers(0, 3),
    epochs=st.integers(2, 6),
    per_epoch=st.integers(1, 350),
)
def test_the_rate_that_changes_once_per_epoch_is_that_of_albefs_loop(peak, first, last, hundreds, epochs, per_epoch):
    section = CosineSection(updates="epoch", warmup=f"{100 * hundreds} steps", warmup_lr=first, final_lr=last)
    schedule = section.build(peak, per_epoch, per_epoch * epochs)
    expected = list(rates_of_albef(per_epoch, epochs, hundreds, peak, first, last))
    assert [schedule(step) for step in range(per_epoch * epochs)] == expected


def test_a_rate_that_changes_once_per_epoch_is_constant_within_it_and_ends_above_the_final_rate():
    section = CosineSection(updates="epoch", warmup="0 steps", final_lr=0.0)
    schedule = section.build(1.0, 7, 28)
    assert [len({schedule(7 * epoch + step) for step in range(7)}) for epoch in range(4)] == [1, 1, 1, 1]
    assert [schedule(7 * epoch) for epoch in range(4)] == pytest.approx([1, 0.8535534, 0.5, 0.1464466])


def test_a_training_of_part_of_an_epoch_keeps_its_peak():
    schedule = CosineSection(updates="epoch", warmup="150 steps", warmup_lr=0.25).build(1.0, 1000, 400)
    assert [schedule(step) for step in (0, 100, 101, 150, 151, 399)] == pytest.approx([0.25, 0.25, 0.75, 0.75, 1, 1])


@pytest.mark.parametrize(("warmup", "steps"), [("2000 steps", 2000), ("0.5 epochs", 5), ("5 %", 20)])
def test_warmup_takes_steps_epochs_and_per_cent(warmup, steps):
    assert cosine(warmup, 400).warmup_steps == steps


def test_constant_stays_at_its_peak():
    section = ConstantSection(kind="constant", warmup="4 steps", warmup_lr=0.0)
    schedule = section.build(0.2, 10, 100)
    assert [schedule(s) for s in (0, 1, 2, 4, 99)] == pytest.approx([0.0, 0.05, 0.1, 0.2, 0.2])


def test_durations_become_steps():
    section = settings(duration="2.5 epochs", log_every="10 %", evaluate_every="1 epoch", checkpoint_every="7 steps")
    table = build_step_schedule(section, batches_per_epoch=43, processes=1)
    assert (table.micro_steps, table.steps_per_epoch, table.total_steps) == (4, 10, 25)
    assert (table.log_every, table.evaluate_every, table.checkpoint_every) == (2, 10, 7)


@given(
    batches=st.integers(4, 60),
    size=st.sampled_from([4, 8, 16]),
    processes=st.sampled_from([1, 2, 4]),
    epochs=st.integers(1, 4),
)
def test_steps_take_whole_epochs_of_batches_in_order(batches, size, processes, epochs):
    section = settings(duration=f"{epochs} epochs", batch_size=size, global_batch_size=64)
    if batches < 64 // (size * processes):
        return
    table = build_step_schedule(section, batches_per_epoch=batches, processes=processes)
    assert table.micro_steps * size * processes == 64
    taken = [
        n
        for s in range(table.total_steps)
        for n in range(table.first_batch(s), table.first_batch(s) + table.micro_steps)
    ]
    assert taken == sorted(set(taken))
    for epoch in range(epochs):
        inside = [n for n in taken if n // batches == epoch]
        assert inside == list(range(epoch * batches, epoch * batches + table.steps_per_epoch * table.micro_steps))


def test_the_last_step_logs_evaluates_and_saves():
    section = settings(duration="7 steps", log_every="5 steps", evaluate_every=None, checkpoint_every="5 steps")
    table = build_step_schedule(section, batches_per_epoch=40, processes=1)
    assert [s for s in range(8) if table.logs(s)] == [5, 7]
    assert [s for s in range(8) if table.checkpoints(s)] == [5, 7]
    assert [s for s in range(8) if table.evaluates(s)] == [7]


def test_a_global_batch_that_the_processes_cannot_share_is_refused():
    with pytest.raises(UsageError, match=r"global_batch_size 16 is not a multiple of 12 .* 3 processes"):
        build_step_schedule(settings(), batches_per_epoch=40, processes=3)


def test_a_ramp_is_straight_and_stays_at_the_top():
    def at(step):
        return Progress(step=step, total_steps=100, steps_per_epoch=10)

    assert [at(step).ramp(2.0) for step in (0, 5, 10, 20, 90)] == [0.0, 0.25, 0.5, 1.0, 1.0]
    assert at(0).ramp(0.0) == 1.0
