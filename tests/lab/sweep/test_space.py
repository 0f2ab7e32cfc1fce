"""Which settings a sweep tries."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbalign.errors import UsageError
from cbalign.lab.sweep.space import Axis, Range, combinations, parse_axis

LR, BATCH, SEED = "train.optimizer.lr", "train.batch_size", "train.seed"


def made(*over, paired=(), draws=None, draw_seed=0, seeds=None):
    axes, pairs = ([parse_axis(text) for text in texts] for texts in (over, paired))
    return combinations(axes, pairs, draws=draws, draw_seed=draw_seed, seeds=seeds)


def test_a_grid_is_every_value_with_every_other_and_seeds_come_last():
    assert made(f"{LR}=1e-4,3e-4", f"{BATCH}=8,16", seeds=2) == [
        ((LR, rate), (BATCH, size), (SEED, seed)) for rate in ("1e-4", "3e-4") for size in ("8", "16") for seed in "01"
    ]


def test_paired_values_move_together_and_multiply_with_the_others():
    pairs = (f"{LR}=1e-4,2e-4", f"{BATCH}=8,16")
    assert made(paired=pairs) == [((LR, "1e-4"), (BATCH, "8")), ((LR, "2e-4"), (BATCH, "16"))]
    assert len(made("model.codebook.size=64,128,256", paired=pairs)) == 6


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (f"{LR}=1e-4", ("1e-4",)),
        ("evaluate.0.protocols=[dual],[dual, code]", ("[dual]", "[dual, code]")),
        (
            "train.schedule={kind: cosine, warmup: 5 %},{kind: constant}",
            ("{kind: cosine, warmup: 5 %}", "{kind: constant}"),
        ),
        ("train.duration=5 epochs, 10 epochs", ("5 epochs", "10 epochs")),
        ("description='a, b',c", ("'a, b'", "c")),
        ("train.clip_norm=null,1", ("null", "1")),
    ],
)
def test_commas_inside_a_value_do_not_split_it(text, values):
    assert parse_axis(text).values == values


@given(
    st.lists(
        st.text(st.characters(exclude_characters=",[]{}()'\"", exclude_categories=["C", "Z"]), min_size=1), min_size=1
    )
)
def test_plain_values_are_split_at_every_comma(values):
    axis = parse_axis(f"description={','.join(values)}")
    assert isinstance(axis, Range) or axis == Axis("description", tuple(values))


def test_ranges():
    assert parse_axis(f"{LR}=1e-5..1e-3:log") == Range(LR, 1e-5, 1e-3, log=True, whole=False)
    assert parse_axis(f"{BATCH}=8..64") == Range(BATCH, 8, 64, log=False, whole=True)
    assert parse_axis(f"{LR}=.1..2.") == Range(LR, 0.1, 2.0, log=False, whole=False)


@given(
    low=st.floats(1e-8, 1e3),
    factor=st.floats(1.001, 1e6),
    log=st.booleans(),
    draw_seed=st.integers(0, 2**32),
    draws=st.integers(1, 20),
)
def test_draws_stay_inside_the_range_and_more_of_them_begin_the_same(low, factor, log, draw_seed, draws):
    axis = Range(LR, low, low * factor, log=log, whole=False)
    drawn = combinations([axis], [], draws=draws, draw_seed=draw_seed, seeds=None)
    more = combinations([axis], [], draws=draws + 5, draw_seed=draw_seed, seeds=None)
    assert more[: len(drawn)] == drawn
    for ((_, value),) in drawn:
        assert low * (1 - 1e-5) <= float(value) <= low * factor * (1 + 1e-5)


def test_a_logarithmic_range_gives_each_decade_its_share():
    drawn = made(f"{LR}=1e-6..1e-2:log", draws=2000)
    decades = [math.floor(math.log10(float(value))) for ((_, value),) in drawn]
    for decade in (-6, -5, -4, -3):
        assert decades.count(decade) / 2000 == pytest.approx(0.25, abs=0.05)


def test_whole_settings_get_whole_numbers():
    drawn = made(f"{BATCH}=1..9", draws=50)
    assert {value for ((_, value),) in drawn} <= {str(n) for n in range(1, 10)}


def test_a_draw_is_there_once_and_with_every_seed():
    drawn = made("train.precision=fp32,bf16", draws=30, seeds=2)
    assert len(drawn) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"over": (f"{LR}=2..1",), "draws": 1}, "2 is not less than 1"),
        ({"over": (f"{LR}=0..1:log",), "draws": 1}, "above 0"),
        ({"over": ("name=1..2",), "draws": 1}, "not a number"),
        ({"over": (f"{BATCH}=0.5..2",), "draws": 1}, "whole number"),
        ({"over": (f"{LR}=1..2",)}, "--random"),
        ({"over": (f"{LR}=1,,2",)}, "empty value"),
        ({"over": (f"{LR}=1", f"{LR}=2")}, "given twice"),
        ({"over": (), "draws": 3, "seeds": 2}, "needs settings to draw"),
        ({"over": (), "paired": (f"{LR}=1,2",)}, "is the only paired setting"),
        ({"over": (), "paired": (f"{LR}=1..2", f"{BATCH}=1,2")}, "not ranges"),
    ],
)
def test_what_cannot_be_swept_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        made(*arguments.pop("over"), **arguments)
