"""Rounds, kinds of cases and equal quality, on fake tools: what is counted, never how long it took."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.agreement import compare_maps
from benchmarks.case import Case, shrink, tool_folder
from benchmarks.cases import CASES
from benchmarks.client import WorkerError
from benchmarks.environments import peers
from benchmarks.measure import measure
from benchmarks.quality import GOAL, evaluations_until, follow_trials
from benchmarks.record import make_rows, start_run
from benchmarks.rounds import measure_rounds, rotate
from benchmarks.subjects import SUBJECTS
from tests.benchmarks.fakes import make_bench


def test_every_tool_comes_first_in_its_turn() -> None:
    order: list[str] = []

    def action(tool: str, number: int) -> float:
        order.append(tool)
        return float(number)

    actions = {tool: lambda number, tool=tool: action(tool, number) for tool in "ABC"}
    samples, errors = measure_rounds(actions, rounds=4, pause=0)
    assert "".join(order) == "ABCBCACABABC"
    assert samples == {tool: [0.0, 1.0, 2.0, 3.0] for tool in "ABC"} and not errors
    assert rotate(["A"], 5) == ["A"]


def test_a_tool_that_fails_once_is_asked_no_more() -> None:
    asked: list[int] = []

    def failing(number: int) -> float:
        asked.append(number)
        if number == 1:
            raise WorkerError("gone")
        return 0.0

    samples, errors = measure_rounds({"A": failing, "B": float}, rounds=4, pause=0)
    assert asked == [0, 1]
    assert errors == {"A": "gone"} and samples == {"A": [], "B": [0.0, 1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("kind", "method", "samples"),
    [("time", "map", 2), ("memory", "map", 2), ("start", "map", 2), ("import", "import", 2), ("size", "size", 1)],
)
def test_each_kind_gives_a_sample_per_round_and_a_reason_where_not(
    tmp_path: Path, kind: str, method: str, samples: int
) -> None:
    case = Case("group/fake", kind, method, "fake", "all of it", ("onnxplain", "torch", "absent"), rounds=2, masks=5)
    bench = make_bench(tmp_path, missing=("absent",))
    rows = make_rows(start_run(1, False, None), bench, case, measure(bench, case, case.tools))
    assert [row["tool"] for row in rows] == list(case.tools)
    assert [len(row["samples"]) for row in rows] == [samples, samples, 0]
    assert all(sample > 0 for row in rows for sample in row["samples"])
    assert [row["error"] for row in rows] == [None, None, "not installed: absent"]
    if method == "map":
        assert rows[0]["agreement"] == pytest.approx({"with": "torch", "correlation": 1, "max_relative_difference": 0})
        assert rows[1]["agreement"]["with"] == "onnxplain"


def test_a_yardstick_is_asked_for_no_map(tmp_path: Path) -> None:
    """What it answers, logits say, is of another shape, and no reason to remark upon it."""
    case = Case("g/fake", "time", "map", "fake", "r", ("onnxplain", "floor", "torch@forward"), rounds=1, masks=5)
    outcomes = measure(make_bench(tmp_path), case, case.tools)
    assert [outcome.map is None for outcome in outcomes] == [False, True, True]
    assert all(len(outcome.samples) == 1 and outcome.error is None for outcome in outcomes)
    rows = make_rows(start_run(1, False, None), make_bench(tmp_path), case, outcomes)
    assert [(row["agreement"], row["note"]) for row in rows] == [(None, None)] * 3


def test_one_tool_that_dies_costs_the_others_nothing(tmp_path: Path) -> None:
    outcomes = measure(make_bench(tmp_path), Case("g/x", "time", "dying", "fake", "r", ("A",), rounds=2), ("A",))
    assert outcomes[0].samples == [] and outcomes[0].error == "the process ended with status 3: last words"


def test_equal_quality_through_real_workers(tmp_path: Path) -> None:
    case = Case("q/fake", "quality", "rise", "fake", "r", ("onnxplain", "floor"), rounds=6, masks=100)
    ours, floor = measure(make_bench(tmp_path), case, case.tools)
    assert ours.error is None and ours.quality is not None
    assert ours.quality["limit_evaluations"] == 4 * 101 and ours.quality["seeds"] == 3
    assert len(ours.samples) == ours.quality["reached"]
    assert floor.evaluations == 101 and len(floor.samples) == 6 and floor.quality is None


# The correlation of a map of variance v plus noise n/m of m masks with the map itself is sqrt(v / (v + n/m)).
@pytest.mark.parametrize(("noise", "runs", "masks"), [(1.0, 24, 10), (0.2, 24, 100), (3.0, 24, 50)])
def test_evaluations_until_the_goal_are_those_of_the_formula(noise: float, runs: int, masks: int) -> None:
    truth = np.random.default_rng(0).normal(size=(60, 60))

    def look(count: int, seed: int) -> tuple[float, np.ndarray]:
        rng = np.random.default_rng([seed, count])
        return float(count), truth + rng.normal(0, noise / np.sqrt(count), truth.shape)

    maps = np.stack([look(masks, seed)[1] for seed in range(runs)])
    curves, limits, reliability = follow_trials(maps, np.full(runs, masks), look)
    assert limits == [masks * runs * 2 // 3] * 3
    assert reliability == pytest.approx((1 + noise**2 / limits[0]) ** -0.5, abs=2e-3)
    # The noise in the limit is not the map's fault.
    expected = noise**2 / (1 / GOAL**2 - 1)
    found = [evaluations_until(GOAL, curve) for curve in curves]
    if expected < masks:
        # One run is enough: the ladder's first step is.
        assert found == [64.0] * 3
    else:
        np.testing.assert_allclose([value or np.nan for value in found], expected, rtol=0.15)


def test_a_tool_that_draws_its_masks_together_is_asked_for_longer_runs() -> None:
    truth = np.random.default_rng(0).normal(size=(60, 60))
    asked: list[int] = []

    def look(count: int, seed: int) -> tuple[float, np.ndarray]:
        asked.append(count)
        rng = np.random.default_rng([seed, count])
        # Noise that falls with the square of the masks, where a mean of runs falls with their number alone.
        return float(count), truth + rng.normal(0, 400 / count, truth.shape)

    maps = np.stack([look(1000, seed)[1] for seed in range(6)])
    asked.clear()
    curves, *_ = follow_trials(maps, np.full(6, 1000), look, together=True)
    assert asked == [1280, 1536, 2048] * 3
    assert [curve[0][0] for curve in curves] == [1000.0] * 3
    assert all(1536 < (evaluations_until(GOAL, curve) or 0) <= 2048 for curve in curves)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([(100.0, 0.9), (200.0, 0.97)], None),
        ([(64.0, 0.99), (128.0, 0.999)], 64.0),
        ([(100.0, 0.97), (400.0, 0.99)], 200.0),
        ([(100.0, 0.5), (200.0, 0.98)], 200.0),
    ],
)
def test_the_goal_lies_between_two_points(curve: list[tuple[float, float]], expected: float | None) -> None:
    found = evaluations_until(0.98, curve)
    assert found == expected if expected is None else found == pytest.approx(expected)


RAMP = np.linspace(-1, 1, 49).reshape(1, 7, 7)


@pytest.mark.parametrize(
    ("found", "correlation"),
    [
        (RAMP, 1.0),
        (7 * RAMP, 1.0),
        (RAMP[0], 1.0),
        (np.maximum(RAMP, 0), 1.0),
        (np.maximum(RAMP, 0).repeat(32, axis=1).repeat(32, axis=2), 0.9),
        (-RAMP, -1.0),
        (np.zeros((1, 7, 7)), 0.0),
        (np.random.default_rng(0).normal(size=(1, 7, 7)), 0.0),
    ],
)
def test_maps_agree_whatever_their_scale_cut_and_size(found: np.ndarray, correlation: float) -> None:
    agreement = compare_maps(found, RAMP, "torch")
    assert agreement["correlation"] == pytest.approx(correlation, abs=0.35 if correlation == 0 else 0.1)
    assert (agreement["max_relative_difference"] < 1e-9) is (correlation == 1.0)


def test_another_number_of_maps_is_not_compared() -> None:
    with pytest.raises(ValueError, match="found 2 maps, expected 1"):
        compare_maps(np.zeros((2, 7, 7)), RAMP, "torch")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_names_a_model_and_tools_that_exist(case: Case) -> None:
    assert case.model in SUBJECTS
    assert {tool_folder(tool) for tool in case.tools} <= set(peers())
    small = shrink(case)
    assert small.rounds <= case.rounds and small.tools == case.tools


def test_names_of_cases_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "taste"}, "found kind 'taste'"),
        ({"tools": ()}, "expected at least one"),
        ({"tools": ("a", "a")}, "each once"),
        ({"rounds": 0}, "below 1"),
    ],
)
def test_bad_rows_of_the_table_are_refused(fields: dict[str, object], message: str) -> None:
    row = {"name": "g/x", "kind": "time", "method": "map", "model": "m", "region": "r", "tools": ("a",)}
    with pytest.raises(ValueError, match=message):
        Case(**{**row, **fields})
