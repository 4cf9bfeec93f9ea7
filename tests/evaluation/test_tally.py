from __future__ import annotations

import numpy as np
import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.statistic import (
    BEST_LEVEL,
    BEST_LEVEL_PER_IOU,
    MEAN,
    Statistic,
    pack_bits,
    unpack_bits,
)
from onnxplain.evaluation.tally import Tally, draw_weights

RNG = np.random.default_rng(3)
LARGEST = Statistic(4, lambda means: means.max(axis=-1))


def fill(statistic: Statistic, values: np.ndarray, seed: int = 0) -> Tally:
    tally = Tally(statistic)
    for number, row in enumerate(values):
        tally.add(row, draw_weights(seed, f"image {number}"))
    return tally


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("statistic", [MEAN, LARGEST])
def test_a_stream_gives_what_all_images_at_once_give(statistic: Statistic, count: int) -> None:
    values = RNG.random((count, statistic.length))
    found = fill(statistic, values).estimate()

    weights = np.array([draw_weights(0, f"image {number}") for number in range(count)])
    drawn = weights.sum(axis=0) > 0
    replicates = np.einsum("nr,nk->rk", weights[:, drawn], values) / weights.sum(axis=0)[drawn, None]
    low, high = np.percentile(replicates.max(axis=1), [2.5, 97.5])
    assert found.count == count
    assert found.value == pytest.approx(values.mean(axis=0).max(), abs=1e-12)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))


def test_intervals_are_those_of_drawing_with_replacement() -> None:
    """The multinomial bootstrap on all images, which needs them in memory."""
    values = RNG.random((400, 1)) ** 3
    found = fill(MEAN, values).estimate()

    draws = np.random.default_rng(0).integers(400, size=(20_000, 400))
    low, high = np.percentile(values[draws, 0].mean(axis=1), [2.5, 97.5])
    width = high - low
    assert found.low == pytest.approx(low, abs=0.1 * width)
    assert found.high == pytest.approx(high, abs=0.1 * width)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """95 % of intervals of the mean of 100 coins hold the coin's probability."""
    covered = 0
    for trial in range(200):
        estimate = fill(MEAN, np.random.default_rng(trial).random((100, 1)) < 0.3, seed=trial).estimate()
        covered += estimate.low <= 0.3 <= estimate.high
    assert 0.88 < covered / 200 < 0.99


def test_weights_depend_on_seed_and_image_alone() -> None:
    np.testing.assert_array_equal(draw_weights(1, "a"), draw_weights(1, "a"))
    assert (draw_weights(1, "a") != draw_weights(1, "b")).any()
    assert (draw_weights(1, "a") != draw_weights(2, "a")).any()
    many = np.concatenate([draw_weights(0, f"{number}") for number in range(200)])
    assert many.mean() == pytest.approx(1, abs=0.01)
    assert many.var() == pytest.approx(1, abs=0.02)


def test_no_image_has_no_number() -> None:
    estimate = Tally(MEAN).estimate()

    assert (estimate.value, estimate.low, estimate.high, estimate.count) == (None, None, None, 0)


def test_the_best_level_is_one_for_all_images() -> None:
    """Two images that are hit at different levels: the best single level hits one of them."""
    hits = np.zeros((2, 255), bool)
    hits[0, 40:60], hits[1, 100:120] = True, True
    apart = fill(BEST_LEVEL, hits).estimate()
    hits[1, 50:60] = True
    together = fill(BEST_LEVEL, hits).estimate()

    assert (apart.value, apart.details) == (0.5, {"level": 40})
    assert (together.value, together.details) == (1.0, {"level": 50})


def test_each_iou_has_its_own_best_level() -> None:
    hits = np.zeros((4, 3, 255), bool)
    hits[:, 0, 10], hits[:3, 1, 20], hits[0, 2, 30] = True, True, True
    found = fill(BEST_LEVEL_PER_IOU, hits.reshape(4, -1)).estimate()

    assert found.value == pytest.approx((1 + 0.75 + 0.25) / 3)
    assert found.details == {"per_iou": {"0.3": 1.0, "0.5": 0.75, "0.7": 0.25}}


@pytest.mark.parametrize("length", [1, 8, 255, 765])
def test_bits_survive_as_text(length: int) -> None:
    bits = RNG.random(length) < 0.5

    np.testing.assert_array_equal(unpack_bits(pack_bits(bits), length), bits)


@pytest.mark.parametrize("text", ["", "ff", "zz" * 32, "0" * 66])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(OnnxplainError, match="expected 255 bits"):
        unpack_bits(text, 255)
