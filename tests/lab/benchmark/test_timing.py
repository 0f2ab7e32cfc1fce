from __future__ import annotations

import pytest

from cbalign.lab.benchmark.result import Benchmark, BenchmarkRow, Timing
from cbalign.lab.benchmark.target import BenchmarkTarget
from cbalign.lab.benchmark.timing import Speed, interleaved
from cbalign.render.benchmark import benchmark_blocks
from cbalign.render.text import as_text


def test_everyone_has_a_turn_in_every_round_and_nobody_is_always_first() -> None:
    order: list[str] = []
    seconds = interleaved({name: lambda n=name: order.append(n) for name in "abc"}, rounds=4, warmup=1)  # type: ignore[misc]
    assert "".join(order) == "abc" + "abc" + "bca" + "cab" + "abc"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 4, "b": 4, "c": 4}


def test_a_speed_is_percentiles_and_items_per_second_of_the_median() -> None:
    speed = Speed.of(8, [0.001 * milliseconds for milliseconds in range(1, 102)])
    assert (speed.p50, speed.p90, speed.p99) == pytest.approx((51, 91, 100))
    assert speed.per_second == pytest.approx(8 / 0.051)


def timing(per_call: float) -> Timing:
    one, many = Speed.of(1, [per_call]), Speed.of(8, [4 * per_call])
    return Timing(one, many, (one, many))


def test_throughput_is_compared_with_the_first_row() -> None:

    rows = (
        BenchmarkRow("torch eager fp32", "cpu", {"image": timing(0.4)}, 100, None, 10, None, None),
        BenchmarkRow(
            "onnxruntime int8", "cpu", {"image": timing(0.1)}, 100, None, 10, {"text_to_image_r1": 50.0}, None
        ),
        BenchmarkRow("torch compiled fp32", "cpu", {}, None, None, 10, None, "does not run here"),
    )
    result = Benchmark("b", "f", 23, 2, 10, 3, None, {"processor": "p", "cores": 2}, {}, "now", rows)
    assert [result.ratio(row, "image") for row in rows] == [1.0, pytest.approx(4.0), None]
    document = result.to_data()["rows"]
    assert isinstance(document, list)
    assert document[1]["timings"]["image"]["best"] == {
        **{"batch": 8, "p50_ms": 400.0, "p90_ms": 400.0, "p99_ms": 400.0, "per_second": 20.0},
        "times_first_row": pytest.approx(4.0),
    }


def test_a_subject_travels_to_another_process() -> None:
    target = BenchmarkTarget("torch", "autocast", "run", "cpu", 2, "run/checkpoints/step-4")
    assert BenchmarkTarget.from_json(target.to_json()) == target
    assert target.name == "torch autocast bf16"
    assert BenchmarkTarget("onnxruntime", "int8", "bundle", "cpu", 2).name == "onnxruntime int8"


def unsteady() -> Timing:
    """Times that other programs stretched: the slowest tenth takes three times the median."""
    one = Speed.of(1, [0.1] * 8 + [0.3] * 3)
    return Timing(one, one, (one,))


def result_of(*timings: Timing, load: float | None = None) -> Benchmark:
    rows = tuple(
        BenchmarkRow(f"row {i}", "cpu", {"image": each}, 1, None, 1, None, None) for i, each in enumerate(timings)
    )
    return Benchmark("b", "f", 23, 2, 10, 3, None, {"processor": "p", "cores": 2, "system": "s"}, {}, "now", rows, load)


def test_times_that_vary_too_much_have_no_relative_speed() -> None:
    result = result_of(timing(0.1), unsteady())
    assert result.ratio(result.rows[1], "image") is None
    assert result_of(unsteady(), timing(0.1)).ratio(result.rows[0], "image") is None
    shown = as_text(benchmark_blocks(result), None)
    assert "warning: Times vary too much for a relative speed: row 1 (image)." in shown
    assert result.to_data()["warnings"]


@pytest.mark.parametrize(("load", "busy"), [(None, False), (0.9, False), (1.1, True), (3.0, True)])
def test_a_busy_machine_is_reported(load: float | None, busy: bool) -> None:
    result = result_of(timing(0.1), load=load)
    assert bool(result.warnings) == busy
    if busy:
        assert f"load {load:.1f} on 2 cores" in as_text(benchmark_blocks(result), None)
