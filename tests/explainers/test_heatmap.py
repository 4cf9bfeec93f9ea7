from __future__ import annotations

import numpy as np
import pytest
import torch

from onnxplain.explainers.heatmap import minus_min_over_range, relu_over_max, visible_window
from onnxplain.runtime.geometry import Frame, make_frame

FRAMES = [
    make_frame((40, 60), (24, 24), "stretch"),
    make_frame((40, 60), (24, 24), "crop"),
    make_frame((60, 41), (24, 32), "letterbox"),
    make_frame((500, 1), (24, 24), "crop"),
    make_frame((1, 300), (16, 16), "letterbox"),
    make_frame((7, 9), (64, 48), "crop"),
]
NORMALISERS = [relu_over_max, minus_min_over_range]


def random_map(size_hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size_hw).astype(np.float32)


def upsampled(raw: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    tensor = torch.from_numpy(raw)[None, None]
    return torch.nn.functional.interpolate(tensor, size=size_hw, mode="bilinear", align_corners=False)[0, 0].numpy()


def test_cam_family_is_relu_then_upsampling_then_division_by_the_maximum() -> None:
    raw = random_map((7, 5))
    heatmap, status = relu_over_max(raw, make_frame((40, 60), (24, 24), "stretch"))
    expected = upsampled(np.maximum(raw, 0), (40, 60))
    np.testing.assert_allclose(heatmap, expected / expected.max(), atol=1e-5)
    assert status == "ok"


def test_rise_is_upsampling_then_minus_minimum_over_range() -> None:
    raw = random_map((24, 24))
    heatmap, status = minus_min_over_range(raw, make_frame((40, 60), (24, 24), "stretch"))
    expected = upsampled(raw, (40, 60))
    np.testing.assert_allclose(heatmap, (expected - expected.min()) / (expected.max() - expected.min()), atol=1e-5)
    assert status == "ok"


@pytest.mark.parametrize("frame", FRAMES, ids=str)
@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_the_heatmap_fills_the_unit_interval_inside_the_visible_part(normaliser, frame: Frame) -> None:
    raw = random_map((6, 8)) + 0.5
    heatmap, status = normaliser(raw, frame)
    assert status == "ok"
    assert heatmap.dtype == np.float32
    assert heatmap.shape == frame.image_size_hw
    assert heatmap.max() == 1
    assert heatmap.min() >= 0
    outside = np.ones(frame.image_size_hw, bool)
    outside[visible_window(frame)] = False
    assert not heatmap[outside].any()


@pytest.mark.parametrize("frame", FRAMES, ids=str)
def test_the_window_is_where_the_frame_places_anything(frame: Frame) -> None:
    placed = frame.map_to_image(np.ones((3, 3), np.float32)) > 0
    window = np.zeros(frame.image_size_hw, bool)
    window[visible_window(frame)] = True
    np.testing.assert_array_equal(window, placed)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("normaliser", "raw", "status"),
    [
        (relu_over_max, [[1, 2], [3, 4]], "ok"),
        (relu_over_max, [[-1, 2], [-3, -4]], "ok"),
        (relu_over_max, [[0, 1e-45], [0, 0]], "ok"),
        (relu_over_max, [[3e38, -3e38], [0, 0]], "ok"),
        (relu_over_max, [[-1, -2], [-3, 0]], "no_positive_evidence"),
        (relu_over_max, [[0, 0], [0, 0]], "no_positive_evidence"),
        (relu_over_max, [[-2, -2], [-2, -2]], "no_positive_evidence"),
        (relu_over_max, [[2, 2], [2, 2]], "constant"),
        (relu_over_max, [[2]], "constant"),
        (relu_over_max, [[1, NAN], [0, 0]], "non_finite"),
        (relu_over_max, [[1, -INF], [0, 0]], "non_finite"),
        (minus_min_over_range, [[1, 2], [3, 4]], "ok"),
        (minus_min_over_range, [[-1, -2], [-3, -4]], "ok"),
        (minus_min_over_range, [[3e38, -3e38], [0, 0]], "ok"),
        (minus_min_over_range, [[1e6, 1e6 + 1], [1e6, 1e6]], "ok"),
        (minus_min_over_range, [[0.1, 0.1], [0.1, 0.1]], "constant"),
        (minus_min_over_range, [[0]], "constant"),
        (minus_min_over_range, [[INF, 1], [0, 0]], "non_finite"),
        (minus_min_over_range, [[NAN, NAN], [NAN, NAN]], "non_finite"),
    ],
)
def test_status(normaliser, raw: list[list[float]], status: str) -> None:
    heatmap, found = normaliser(np.array(raw, np.float32), make_frame((20, 30), (8, 8), "stretch"))
    assert found == status
    assert np.isfinite(heatmap).all()
    assert heatmap.max() == (1 if status == "ok" else 0)


def test_evidence_that_lies_only_in_the_border_of_a_letterbox_is_none() -> None:
    raw = np.zeros((8, 8), np.float32)
    raw[0] = 1
    frame = make_frame((10, 100), (64, 64), "letterbox")
    assert relu_over_max(raw, frame)[1] == "no_positive_evidence"
    assert relu_over_max(raw.T, frame)[1] == "ok"
