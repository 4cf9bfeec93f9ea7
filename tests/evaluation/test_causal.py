"""Insertion and deletion against the paper's definition in torch, and against models whose curves are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.causal import (
    CausalCurves,
    area_under,
    blur_input,
    causal_curves,
    pixels_per_step,
    salient_order,
)

RNG = np.random.default_rng(5)


def curved(batch_nchw: np.ndarray) -> np.ndarray:
    """Softmax scores (N, 3) that are far from linear in the input, each row from its own image alone."""
    left, right = (half.mean(axis=(1, 2, 3)) for half in np.array_split(batch_nchw, 2, axis=3))
    logits = np.stack([4 * left, 3 * right**2, left * right], axis=1)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


def published_curve(mode: str, image_chw: np.ndarray, heat_hw: np.ndarray, class_id: int) -> np.ndarray:
    """The paper's definition, one image after the other: the i · step hottest pixels are those of `finish`."""
    channels, height, width = image_chw.shape
    point = np.zeros((11, 11))
    point[5, 5] = 1
    kernel = np.zeros((channels, channels, 11, 11))
    for channel in range(channels):
        kernel[channel, channel] = gaussian_filter(point, 5)
    image = torch.tensor(image_chw)[None]
    blurred = torch.nn.functional.conv2d(image, torch.tensor(kernel, dtype=torch.float32), padding=5)
    start, finish = (image, torch.zeros_like(image)) if mode == "deletion" else (blurred, image)
    ys, xs = np.unravel_index(np.flip(np.argsort(heat_hw.ravel())), heat_hw.shape)
    scores = []
    # 8 rows per step, as published for 224 × 224; below that, the same share of the pixels.
    step = 8 * width if height >= 224 else math.ceil(height * width / 28)
    for i in range(math.ceil(height * width / step) + 1):
        hottest = slice(0, i * step)
        mixed = start[0].numpy().copy()
        mixed[:, ys[hottest], xs[hottest]] = finish[0].numpy()[:, ys[hottest], xs[hottest]]
        scores.append(curved(mixed[None])[0, class_id])
    return np.array(scores)


@pytest.mark.parametrize("size_hw", [(224, 224), (230, 20), (96, 96), (32, 20), (37, 9), (8, 8), (3, 50)])
@pytest.mark.parametrize("channels", [1, 3])
def test_curves_are_the_published_ones(size_hw: tuple[int, int], channels: int) -> None:
    image_chw = RNG.normal(0.3, 1, (channels, *size_hw)).astype(np.float32)
    # All values differ, so the authors' order is that of any sort.
    heat_hw = RNG.permutation(size_hw[0] * size_hw[1]).reshape(size_hw).astype(np.float32)
    curves = causal_curves(curved, image_chw, heat_hw, class_id=1)
    for mode in ("insertion", "deletion"):
        expected = published_curve(mode, image_chw, heat_hw, class_id=1)
        np.testing.assert_allclose(getattr(curves, mode), expected, atol=2e-6)
        area = (expected.sum() - expected[0] / 2 - expected[-1] / 2) / (len(expected) - 1)
        assert getattr(curves, f"{mode}_auc") == pytest.approx(area, abs=2e-6)


def brightness(batch_nchw: np.ndarray) -> np.ndarray:
    """A score that is the mean of the input, beside the rest."""
    mean = batch_nchw.mean(axis=(1, 2, 3))
    return np.stack([1 - mean, mean], axis=1).astype(np.float32)


def test_every_pixel_of_the_same_worth_gives_a_straight_line() -> None:
    curves = causal_curves(brightness, np.ones((3, 40, 10), np.float32), RNG.random((40, 10), np.float32), class_id=1)
    # 15 of 400 pixels per step; the last step has 10.
    np.testing.assert_allclose(curves.deletion, [*(1 - 15 * np.arange(27) / 400), 0], atol=1e-6)
    assert curves.deletion_auc == pytest.approx(0.5, abs=0.01)
    assert (curves.insertion[-1], curves.deletion[0]) == (1, 1)


@pytest.mark.parametrize(
    ("hot_rows", "deletion"),
    # 4 of 96 pixels per step.
    [(slice(0, 8), [*np.linspace(1, 0, 13), *[0] * 12]), (slice(8, 16), [*[1] * 12, *np.linspace(1, 0, 13)])],
)
def test_heat_where_the_evidence_is_takes_the_score_at_once(hot_rows: slice, deletion: list[float]) -> None:
    image_chw = np.zeros((1, 16, 6), np.float32)
    image_chw[:, :8] = 2
    heat_hw = np.zeros((16, 6), np.float32)
    heat_hw[hot_rows] = 1
    curves = causal_curves(brightness, image_chw, heat_hw, class_id=1)
    np.testing.assert_allclose(curves.deletion, deletion, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 100])
def test_copies_come_in_batches_and_change_nothing(batch_size: int) -> None:
    sizes = []

    def counted(batch_nchw: np.ndarray) -> np.ndarray:
        assert batch_nchw.dtype == np.float32
        sizes.append(len(batch_nchw))
        return curved(batch_nchw)

    image_chw, heat_hw = RNG.normal(size=(3, 36, 12)).astype(np.float32), RNG.random((36, 12), np.float32)
    curves = causal_curves(counted, image_chw, heat_hw, 0, batch_size)
    assert max(sizes) <= batch_size and sum(sizes) == 2 * (27 + 1)
    whole = causal_curves(curved, image_chw, heat_hw, 0, batch_size=6)
    np.testing.assert_allclose(curves.insertion, whole.insertion, atol=1e-7)
    np.testing.assert_allclose(curves.deletion, whole.deletion, atol=1e-7)


@pytest.mark.parametrize("size_hw", [(1, 1), (8, 8), (64, 64), (96, 96), (160, 640), (224, 224), (640, 640)])
def test_a_step_never_changes_more_than_a_small_share(size_hw: tuple[int, int]) -> None:
    pixels = size_hw[0] * size_hw[1]
    assert 1 <= pixels_per_step(*size_hw) < pixels / 28 + 1
    assert pixels_per_step(*size_hw) <= 8 * size_hw[1]


def test_of_equal_pixels_the_last_comes_first() -> None:
    heat_hw = np.array([[0.2, 0.9, 0.2], [0.9, 0.5, 0.2]], np.float32)
    assert salient_order(heat_hw).tolist() == [3, 1, 4, 5, 2, 0]
    distinct_hw = RNG.permutation(600).reshape(20, 30).astype(np.float32)
    np.testing.assert_array_equal(salient_order(distinct_hw), np.flip(np.argsort(distinct_hw.ravel())))


def test_the_blur_keeps_a_constant_inside_and_darkens_the_border() -> None:
    blurred = blur_input(np.ones((2, 30, 25), np.float32))
    assert blurred.dtype == np.float32
    np.testing.assert_allclose(blurred[:, 5:-5, 5:-5], 1, atol=1e-6)
    assert blurred[0, 0, 0] < 0.5


@pytest.mark.parametrize(("curve", "area"), [([0, 1], 0.5), ([1, 1, 1], 1), ([0, 0, 1], 0.25), ([1, 0.5, 0], 0.5)])
def test_area_by_trapezoid(curve: list[float], area: float) -> None:
    assert area_under(np.array(curve)) == area == pytest.approx(np.trapezoid(curve) / (len(curve) - 1))


IMAGE, HEAT = np.zeros((3, 16, 6), np.float32), np.zeros((16, 6), np.float32)


@pytest.mark.parametrize(
    ("heat_hw", "scores", "batch_size", "message"),
    [
        (HEAT[1:], brightness, 8, r"heat: found \(15, 6\)"),
        (HEAT * np.nan, brightness, 8, "finite"),
        (HEAT, lambda batch: np.full((len(batch), 2), np.nan, np.float32), 8, "insertion: the model gave NaN"),
        (HEAT, brightness, 0, "batch_size: found 0"),
    ],
)
def test_refusals(heat_hw: np.ndarray, scores: object, batch_size: int, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        causal_curves(scores, IMAGE, heat_hw, 1, batch_size)


@pytest.mark.parametrize("deletion", [np.zeros(3), np.zeros(2, np.float32), np.zeros((2, 1))])
def test_curves_of_another_shape_or_type_are_refused(deletion: np.ndarray) -> None:
    with pytest.raises(OnnxplainError, match="deletion: found"):
        CausalCurves(np.zeros(2), deletion)
