from cbalign.engine.schedule import Constant, Cosine
from cbalign.lab.plan.curve import draw_schedule


def test_the_curve_rises_to_the_peak_and_falls():
    lines = draw_schedule(
        Cosine(peak_lr=1e-3, warmup_lr=0, final_lr=0, warmup_steps=50, total_steps=100), 100, width=20
    )
    top = lines[0]
    assert top.startswith(" 1.0e-03")
    assert abs(max(top.find(block) for block in "█▇") - (9 + 10)) <= 1  # half-way along 20 columns
    assert "step 100" in lines[-1]


def test_a_constant_rate_is_a_full_block():
    *curve, _ = draw_schedule(Constant(peak_lr=1e-3, warmup_lr=1e-3, warmup_steps=0), 10, height=3)
    assert [line[9:] for line in curve] == ["█" * 10] * 3


def test_one_step_can_be_drawn():
    assert "step 1" in draw_schedule(Constant(peak_lr=1e-3, warmup_lr=0, warmup_steps=0), 1)[-1]
