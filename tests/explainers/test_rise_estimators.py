"""Every estimator of RISE estimates the same map, and knows how well."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from onnxplain.explainers import RISE
from onnxplain.explainers.rise.estimator import ESTIMATORS, Estimator
from onnxplain.explainers.rise.map_estimate import MapEstimate
from tests.explainers.synthetic import BLACK, GRID, SIZE_HW, WHITE, curved, exact_maps, linear

# The raw map of log-linear is that of default, bit for bit: see test_rise_log_linear.py.
PARTS = [*(name for name in ESTIMATORS if name != "log-linear"), Estimator("independent")]
# Student's t with 7 degrees of freedom: 95 % lie within.
T_95 = 2.365


@cache
def exact(keep: float) -> np.ndarray:
    return exact_maps(curved, keep)


def explain_curved(masks: int, **options):
    rise = RISE(curved, SIZE_HW, masks=masks, grid=GRID, fill=BLACK, batch_size=64, **options)
    return rise.for_targets(WHITE, [0, 1, 2])


@pytest.mark.parametrize(("estimator", "keep"), [*((part, 0.5) for part in PARTS), ("default", 0.3)], ids=str)
def test_at_16000_masks_all_agree_with_the_exact_map_within_their_errors(estimator, keep: float) -> None:
    for explanation, truth in zip(explain_curved(16_000, keep=keep, estimator=estimator), exact(keep), strict=True):
        error = explanation.raw - truth
        # An estimator with a bias would be off everywhere by many times its error, which is small by now.
        assert np.sqrt(np.mean((error / explanation.report.standard_error) ** 2)) < 2.5
        assert np.corrcoef(explanation.raw.ravel(), truth.ravel())[0, 1] > (0.97 if estimator == "paper" else 0.99)


@pytest.mark.parametrize("estimator", PARTS, ids=str)
def test_the_mean_over_many_short_runs_is_the_exact_map(estimator) -> None:
    """A bias of the order of 1 / masks would show in 150 runs of 48 masks, where all coefficients are poor."""
    maps = np.array([[each.raw for each in explain_curved(48, estimator=estimator, seed=seed)] for seed in range(150)])
    error = maps.mean(axis=0) - exact(0.5)
    t = error / (maps.std(axis=0, ddof=1) / np.sqrt(len(maps)))
    assert np.sqrt((t**2).mean()) < 2


@pytest.mark.parametrize(("estimator", "keep"), [*((part, 0.5) for part in PARTS), ("default", 0.3)], ids=str)
def test_95_percent_intervals_hold_the_exact_map_as_often_as_they_say(estimator, keep: float) -> None:
    inside, true, stated = [], [], []
    for seed in range(50):
        for explanation, truth in zip(
            explain_curved(320, keep=keep, estimator=estimator, seed=seed), exact(keep), strict=True
        ):
            error = explanation.raw - truth
            inside.append(np.abs(error) <= T_95 * explanation.report.standard_error)
            true.append(np.std(error) / explanation.raw.std())
            stated.append(explanation.report.relative_error)
    assert 0.9 <= np.mean(inside) <= 0.99
    assert np.sqrt(np.mean(np.square(stated))) == pytest.approx(np.sqrt(np.mean(np.square(true))), rel=0.12)


@pytest.mark.parametrize("keep", [0.5, 0.3])
def test_what_a_linear_score_adds_to_the_noise_is_known_and_gone(keep: float) -> None:
    rise = {
        name: RISE(linear, SIZE_HW, masks=800, grid=GRID, keep=keep, estimator=name, fill=BLACK)(WHITE)
        for name in ESTIMATORS
    }
    (truth,) = exact_maps(linear, keep)
    error = {name: np.sqrt(np.mean((explanation.raw - truth) ** 2)) for name, explanation in rise.items()}
    assert error["default"] < 0.2 * error["sobol"] < 0.2 * error["paper"]
    assert error["centred"] < error["paper"]


def test_each_part_lowers_the_error_and_few_masks_do_no_harm() -> None:
    def typical(masks: int, estimator: str) -> float:
        errors = [
            np.std(explanation.raw - truth)
            for seed in range(12)
            for explanation, truth in zip(
                explain_curved(masks, estimator=estimator, seed=seed), exact(0.5), strict=True
            )
        ]
        return float(np.sqrt(np.mean(np.square(errors))))

    assert typical(400, "default") < 0.5 * typical(400, "centred") < 0.5 * typical(400, "paper")
    assert typical(32, "default") < 1.05 * typical(32, "paper")


@pytest.mark.parametrize("masks", [1, 2, 15, 16, 17])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_error_is_known_once_every_replicate_has_a_pair(masks: int, estimator: str) -> None:
    explanation, *_ = explain_curved(masks, estimator=estimator)
    assert (explanation.report.standard_error is not None) == (masks >= 16)
    assert (explanation.report.relative_error is not None) == (masks >= 16)
    assert explanation.status == ("ok" if masks > 1 else "constant")


def test_standard_error_and_relative_error_against_their_definitions() -> None:
    rng = np.random.default_rng(0)
    replicates = rng.normal(size=(8, 5, 6)) + 10 * rng.normal(size=(8, 1, 1)) + rng.normal(size=(5, 6))
    estimate = MapEstimate(replicates, np.full(8, 1 / 8), error_known=True)
    np.testing.assert_allclose(estimate.values, replicates.mean(axis=0))
    np.testing.assert_allclose(estimate.standard_error, replicates.std(axis=0, ddof=1) / np.sqrt(8))
    part = replicates[:, 1:4, ::2]
    forms = part - part.mean(axis=(1, 2), keepdims=True)
    errors = forms.std(axis=0, ddof=1) / np.sqrt(8)
    expected = np.sqrt((errors**2).mean()) / part.mean(axis=0).std()
    assert estimate.relative_error((slice(1, 4), slice(None, None, 2))) == pytest.approx(expected)
