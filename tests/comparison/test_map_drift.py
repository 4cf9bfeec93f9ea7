"""How far two maps are apart: known answers, SciPy's correlation, and maps of other sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from onnxplain.comparison.head_drift import HeadDrift, ShownAnswer
from onnxplain.comparison.image_drift import ImageDrift, MethodDrift, summarise
from onnxplain.comparison.map_drift import MapDrift, map_drift
from onnxplain.explainers import Explanation
from onnxplain.explainers.heatmap import relu_over_max
from onnxplain.runtime.geometry import Frame, make_frame


def explanation(raw: np.ndarray, frame: Frame, threshold: float = 0.5) -> Explanation:
    heat, status = relu_over_max(raw.astype(np.float32), frame)
    return Explanation(
        heat, raw.astype(np.float32), status, "grad-cam", 0, "cat", 0.9, "cat", "last", frame, 1,
        default_threshold=threshold,
    )  # fmt: skip


def assert_equal(found: MapDrift) -> None:
    assert found.correlation == pytest.approx(1.0, abs=1e-9)
    assert found.iou == 1.0


FRAME = make_frame((40, 60), (20, 30), "stretch")


def test_equal_maps_do_not_drift_also_at_another_scale() -> None:
    raw = np.random.default_rng(0).random((5, 7))
    assert_equal(map_drift(explanation(raw, FRAME), explanation(4 * raw, FRAME)))


def test_a_reversed_map_has_the_correlation_of_scipy() -> None:
    raw = np.random.default_rng(1).random((40, 60)) + 0.1
    other = raw.max() + 0.1 - raw
    found = map_drift(explanation(raw, FRAME), explanation(other, FRAME))
    first, second = (explanation(each, FRAME).heatmap for each in (raw, other))
    assert found.correlation == pytest.approx(spearmanr(first.ravel(), second.ravel())[0], abs=1e-6)
    hot = first >= 0.5, second >= 0.5
    assert found.iou == pytest.approx((hot[0] & hot[1]).sum() / (hot[0] | hot[1]).sum())


def test_half_and_whole() -> None:
    whole = np.ones((4, 4))
    whole[0, 0] = 2
    half = whole.copy()
    half[:, 2:] = 0.01
    frame = make_frame((4, 4), (4, 4), "stretch")
    found = map_drift(explanation(whole, frame), explanation(half, frame))
    assert found.iou == 0.5


def test_models_of_other_input_sizes_are_compared_over_the_photo() -> None:
    """One map laid out on two inputs: the heat over the photo is nearly the same."""
    coarse = np.random.default_rng(2).random((6, 6))
    frame, other = make_frame((300, 300), (60, 60), "stretch"), make_frame((300, 300), (90, 90), "stretch")
    found = map_drift(explanation(coarse, frame), explanation(coarse, other))
    assert_equal(found)


def test_only_what_both_models_saw_is_compared() -> None:
    """A crop sees the middle; the map outside of it is noise."""
    raw = np.random.default_rng(3).random((40, 80))
    frame = make_frame((40, 80), (40, 80), "stretch")
    cropped = make_frame((40, 80), (40, 40), "crop", 1.0)
    inner = explanation(raw[:, 20:60], cropped)
    disturbed = raw.copy()
    disturbed[:, :20] = np.random.default_rng(4).random((40, 20))
    found = map_drift(explanation(disturbed, frame), inner)
    assert found.correlation == pytest.approx(1.0)


def test_a_map_without_heat_has_no_correlation() -> None:
    heat, none = explanation(np.ones((3, 3)) + np.eye(3), FRAME), explanation(-np.ones((3, 3)), FRAME)
    assert none.status == "no_positive_evidence"
    assert map_drift(heat, none) == MapDrift(None, None)


CAT = ShownAnswer("cat", 0.9, "cat 0.90")


def drift(
    correlation: float | None, noise: float | None = None, statuses: tuple[str, str] = ("ok", "ok")
) -> MethodDrift:
    return MethodDrift(
        "rise", "cat", MapDrift(correlation, correlation), None if noise is None else MapDrift(noise, noise), statuses
    )


@pytest.mark.parametrize(
    ("each", "beyond"),
    [
        (drift(0.8, 0.9), True),
        (drift(0.9, 0.9), False),
        (drift(0.95, 0.9), False),
        (drift(1.0), False),
        (drift(1 - 1e-9), False),
        (drift(0.999), True),
        (drift(None, 0.9, ("ok", "constant")), True),
        (drift(None, 0.9, ("constant", "constant")), False),
    ],
)
def test_drift_is_told_from_noise(each: MethodDrift, beyond: bool) -> None:
    assert each.beyond_noise is beyond


def test_the_worst_come_first() -> None:
    answer = HeadDrift("y", "classes", CAT, CAT, False, 0.0, 0.0)
    same = ImageDrift("same", (answer,), maps=(drift(1.0),))
    images = {
        "same": same,
        "score": replace(same, image="score", heads=(answer, replace(answer, difference=-0.2))),
        "map": replace(same, image="map", maps=(drift(1.0), drift(0.3))),
        "no heat": replace(same, image="no heat", maps=(drift(None, None, ("ok", "constant")),)),
        "changed": replace(same, image="changed", heads=(answer, replace(answer, changed=True))),
        "error": ImageDrift("error", error="cannot be read"),
    }
    assert [image.image for image in sorted(images.values(), key=lambda image: image.rank)] == [
        "error", "changed", "no heat", "map", "score", "same",
    ]  # fmt: skip


def test_the_summary_of_a_method() -> None:
    heads = (HeadDrift("y", "classes", CAT, CAT, False, 0.0, 0.0),)
    images = [ImageDrift(str(number), heads, maps=(drift(value, 0.7),)) for number, value in enumerate((0.9, 0.5, 0.6))]
    (summary,) = summarise([*images, ImageDrift("none", heads)])
    assert (summary.compared, summary.correlation, summary.worst_correlation) == (3, 0.6, 0.5)
    assert (summary.noise, summary.beyond_noise) == (0.7, 2)
