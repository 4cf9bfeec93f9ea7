"""When RISE stops, how it goes on, and that nothing but seed and number makes a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.explainers import RISE
from onnxplain.explainers.rise.estimator import ESTIMATORS
from onnxplain.explainers.rise.sampling import RiseMoment
from onnxplain.explainers.rise.tally import RiseTally
from tests.explainers.synthetic import BLACK, GRID, SIZE_HW, WHITE, curved


def make_rise(function: Callable[[np.ndarray], np.ndarray] = curved, **options) -> RISE:
    return RISE(function, SIZE_HW, **{"masks": 300, "grid": GRID, "fill": BLACK, "seed": 5, **options})


def tally_arrays(tally: RiseTally) -> dict[str, np.ndarray]:
    return {"tail": tally.tail, **vars(tally.sums)}


def assert_same(one: RiseMoment, other: RiseMoment) -> None:
    """Bit for bit."""
    for name, array in tally_arrays(one.tally).items():
        np.testing.assert_array_equal(array, tally_arrays(other.tally)[name], err_msg=name, strict=True)
    found, expected = one.explanation(), other.explanation()
    for name in ("raw", "shown", "heatmap"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(found.report.standard_error, expected.report.standard_error)
    assert found.report.as_json() == {**expected.report.as_json(), "stopped": found.report.stopped}


def failing_after(batches: int, error: type[BaseException]) -> Callable[[np.ndarray], np.ndarray]:
    """Scores of so many batches, the unmasked image's the first; then the error."""
    count = 0

    def scores(batch: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        if count > batches:
            raise error
        return curved(batch)

    return scores


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_batch_size_does_not_change_a_bit(estimator: str) -> None:
    *_, expected = make_rise(estimator=estimator).stream(WHITE, 0)
    for batch_size in (1, 7, 64, 100, 1000):
        *_, moment = make_rise(estimator=estimator, batch_size=batch_size).stream(WHITE, 0)
        assert_same(moment, expected)


def test_a_call_gives_what_the_stream_ends_with() -> None:
    *_, last = make_rise().stream(WHITE, 1)
    np.testing.assert_array_equal(make_rise()(WHITE, 1).raw, last.explanation().raw)
    assert (last.stopped, last.evaluations) == ("masks", 301)


def test_a_stream_of_no_target_is_refused() -> None:
    with pytest.raises(OnnxplainError, match=r"^target: found none to explain, expected one or more"):
        make_rise().stream(WHITE, [])


def test_a_moment_after_every_64_masks_is_the_map_of_that_many() -> None:
    moments = list(make_rise().stream(WHITE, 0))
    assert [moment.evaluations for moment in moments] == [65, 129, 193, 257, 301]
    assert [moment.stopped for moment in moments] == [None] * 4 + ["masks"]
    for moment in moments:
        alone = make_rise(masks=moment.evaluations - 1)(WHITE, 0)
        explanation = moment.explanation()
        np.testing.assert_array_equal(explanation.raw, alone.raw)
        assert explanation.report.relative_error == alone.report.relative_error
        assert moment.relative_error == pytest.approx(alone.report.relative_error)


@pytest.mark.parametrize("estimator", ["default", "paper", "log-linear"])
@pytest.mark.parametrize("masks", [1, 64, 100, 128])
def test_a_resumed_run_is_an_unbroken_one(masks: int, estimator: str, tmp_path: Path) -> None:
    *_, broken_off = make_rise(masks=masks, estimator=estimator).stream(WHITE, 2)
    broken_off.tally.save(tmp_path / "run.npz")
    tally = RiseTally.load(tmp_path / "run.npz")
    assert tally.key == broken_off.tally.key
    assert tally.masks == masks
    *_, resumed = make_rise(estimator=estimator, batch_size=9).stream(WHITE, 2, tally=tally)
    *_, unbroken = make_rise(estimator=estimator).stream(WHITE, 2)
    assert_same(resumed, unbroken)


def test_a_tally_that_is_long_enough_needs_no_evaluation() -> None:
    *_, whole = make_rise().stream(WHITE, 0)
    (only,) = make_rise(failing_after(1, RuntimeError), masks=200).stream(WHITE, 0, tally=whole.tally)
    assert_same(only, whole)
    assert only.stopped == "masks"


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("seed", {"seed": 6}),
        ("grid", {"grid": 4}),
        ("keep", {"keep": 0.4}),
        ("estimator", {"estimator": "sobol"}),
        ("targets", {"target": 1}),
        ("image", {"image": WHITE // 2}),
        ("image", {"fill": (0, 0, 1)}),
        ("input_size_hw", {"input_size_hw": (12, 17)}),
    ],
)
def test_the_tally_of_another_run_is_refused(field: str, options: dict) -> None:
    tally = next(make_rise().stream(WHITE, 0)).tally
    image, target = options.pop("image", WHITE), options.pop("target", 0)
    with pytest.raises(OnnxplainError, match=f"^tally: found {field} .*, expected .*: continue with"):
        replace(make_rise(), **options).stream(image, target, tally=tally)


def test_a_tally_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tally.npz"
    next(make_rise().stream(WHITE, 0)).tally.save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "format"}
    for older in ({}, {"format": np.array(1)}, {"format": np.array(99)}):
        np.savez(path, **arrays, **older)
        with pytest.raises(
            OnnxplainError, match=r"tally\.npz: found a tally of format \d+, expected format 2: .* start"
        ):
            RiseTally.load(path)


def test_a_file_that_is_no_tally_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tally.npz"
    with pytest.raises(OnnxplainError, match=r"tally\.npz: cannot be read"):
        RiseTally.load(path)
    next(make_rise().stream(WHITE, 0)).tally.save(path)
    for content in (path.read_bytes()[:-500], b"", b"not an archive"):
        path.write_bytes(content)
        with pytest.raises(OnnxplainError, match=r"tally\.npz: found no tally"):
            RiseTally.load(path)
    np.savez(path, tail=np.zeros(3))
    with pytest.raises(OnnxplainError, match=r"tally\.npz: found no tally"):
        RiseTally.load(path)
    np.savez(path, tail=np.array([{}], dtype=object))
    with pytest.raises(OnnxplainError, match=r"tally\.npz: found no tally"):
        RiseTally.load(path)
    with pytest.raises(OnnxplainError, match=r"cannot be written"):
        next(make_rise().stream(WHITE, 0)).tally.save(tmp_path / "absent" / "tally.npz")


@pytest.mark.parametrize("target", [0, 1])
def test_a_tolerance_stops_after_the_same_block_whatever_the_batch_size(target: int) -> None:
    errors = {moment.tally.masks: moment.relative_error for moment in make_rise(masks=1280).stream(WHITE, target)}
    tolerance = 1.4 * min(errors.values())
    first = min(masks for masks, error in errors.items() if masks >= 128 and error < tolerance)
    assert 128 < first < 1280
    for batch_size in (7, 16, 64, 300):
        explanation = make_rise(masks=1280, tolerance=tolerance, batch_size=batch_size)(WHITE, target)
        assert (explanation.report.masks, explanation.report.stopped) == (first, "tolerance")
        assert explanation.report.relative_error < tolerance


def test_a_tolerance_waits_for_128_masks_and_for_every_target() -> None:
    assert make_rise(tolerance=1e9)(WHITE).report.masks == 128
    rise = make_rise(masks=2560, tolerance=0.08)
    alone = [rise(WHITE, target).report.masks for target in (0, 1)]
    together = rise.for_targets(WHITE, [0, 1])
    assert alone[0] != alone[1]
    assert [each.report.masks for each in together] == [max(alone)] * 2


def test_a_map_without_a_range_never_reaches_a_tolerance() -> None:
    explanation = make_rise(lambda batch: np.full((len(batch), 2), 0.3), tolerance=0.5)(WHITE)
    assert (explanation.report.stopped, explanation.status) == ("masks", "constant")
    assert explanation.report.relative_error is None


def test_a_budget_ends_after_the_batch_that_exceeds_it() -> None:
    explanation = make_rise(budget_seconds=1e-9, batch_size=10)(WHITE, 0)
    assert (explanation.report.masks, explanation.report.stopped) == (10, "budget")
    np.testing.assert_array_equal(explanation.raw, make_rise(masks=10)(WHITE, 0).raw)
    assert make_rise(budget_seconds=1e9)(WHITE).report.stopped == "masks"


@pytest.mark.parametrize("batches", [0, 5, 8, 9, 16])
def test_an_interruption_gives_the_map_so_far_and_says_so(batches: int) -> None:
    explanation = make_rise(failing_after(1 + batches, KeyboardInterrupt), batch_size=8)(WHITE, 0)
    assert explanation.report.stopped == "interrupted"
    assert explanation.report.interrupted
    assert explanation.evaluations == 1 + 8 * batches
    if batches:
        np.testing.assert_array_equal(explanation.raw, make_rise(masks=8 * batches)(WHITE, 0).raw)
        assert explanation.report.summary().endswith(f"({8 * batches} masks, interrupted)")
    else:
        assert explanation.status == "constant"
        assert explanation.report.summary() == "error unknown (0 masks, interrupted)"


def test_an_interruption_among_several_images_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        make_rise(failing_after(5, KeyboardInterrupt))([WHITE, WHITE])


def test_the_report_in_a_line_of_json() -> None:
    report = make_rise(estimator="centred")(WHITE, 0).report
    assert report.as_json() == {
        "estimator": "centred",
        "seed": 5,
        "masks": 300,
        "stopped": "masks",
        "relative_error": report.relative_error,
        "explain_output": "score",
    }
    assert report.summary() == f"error {100 * report.relative_error:.1f} % (300 masks)"
