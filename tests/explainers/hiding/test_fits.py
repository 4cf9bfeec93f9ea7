"""The linear fits of LIME against scikit-learn, and the parts of KernelSHAP's sampling."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from sklearn.linear_model import Lasso, LinearRegression, Ridge

from onnxplain.explainers.hiding import dependence as hsic_sums
from onnxplain.explainers.hiding import weighted_fit
from onnxplain.explainers.hiding.coalitions import all_pairs, choose_coalitions
from onnxplain.explainers.hiding.dependence import dependence, median_square
from onnxplain.explainers.hiding.hsic import balanced_bits
from onnxplain.explainers.hiding.lime import random_bits
from onnxplain.explainers.hiding.shap import fit_shapley
from onnxplain.explainers.hiding.weighted_fit import Moments, choose_columns, fit_lasso, fit_ridge

RNG = np.random.default_rng(4)
X = (RNG.random((300, 12)) < 0.5).astype(float)
Y = X @ np.array([3, -2, 0, 0, 1.5, 0, 0, 0, 0.5, 0, 0, 0]) + 0.1 * RNG.normal(size=300)
WEIGHTS = RNG.random(300)
MOMENTS = Moments.of(X, Y, WEIGHTS)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 30.0])
def test_ridge_is_scikit_learns(penalty: float) -> None:
    model = (Ridge(penalty) if penalty else LinearRegression()).fit(X, Y, sample_weight=WEIGHTS)
    found = fit_ridge(MOMENTS, penalty)
    np.testing.assert_allclose(found, model.coef_, atol=1e-9)
    assert MOMENTS.explained(found) == pytest.approx(model.score(X, Y, sample_weight=WEIGHTS), abs=1e-9)


@pytest.mark.parametrize("penalty", [0.5, 5.0, 40.0])
def test_lasso_is_scikit_learns(penalty: float) -> None:
    """Its objective is divided by the sum of the weights."""
    model = Lasso(penalty / WEIGHTS.sum(), tol=1e-12, max_iter=100_000).fit(X, Y, sample_weight=WEIGHTS)
    np.testing.assert_allclose(fit_lasso(MOMENTS, penalty), model.coef_, atol=1e-6)


def test_columns_are_taken_in_the_order_of_the_lasso() -> None:
    assert [choose_columns(MOMENTS, count).tolist() for count in (1, 2, 3, 4)] == [[0], [0, 1], [0, 1, 4], [0, 1, 4, 8]]
    assert choose_columns(Moments.of(X, 0 * Y, WEIGHTS), 3).tolist() == []


@pytest.mark.parametrize("players", [2, 3, 6, 7])
@pytest.mark.parametrize("sampling", ["kernel", "leverage"])
def test_all_pairs_are_all_coalitions_with_shapleys_kernel(players: int, sampling) -> None:
    found = choose_coalitions(players, all_pairs(players), sampling, seed=0)
    shown = found.shown
    assert len({tuple(row) for row in shown}) == len(shown) == 2**players - 2
    sizes = shown.sum(axis=1)
    kernel = np.array([(players - 1) / (comb(players, s) * s * (players - s)) for s in sizes])
    np.testing.assert_allclose(np.repeat(found.weights, 2), kernel / kernel.sum(), rtol=1e-9)


@pytest.mark.parametrize("sampling", ["kernel", "leverage"])
def test_drawn_weights_have_the_mass_of_each_size(sampling) -> None:
    """Over many draws the weight of a size is the kernel's, whichever way sizes are drawn."""
    players = 9
    found = choose_coalitions(players, 100, sampling, seed=1)
    assert found.listed >= players
    total = np.zeros(players + 1)
    for seed in range(20):
        drawn = choose_coalitions(players, 200, sampling, seed)
        np.add.at(total, drawn.shown.sum(axis=1), np.repeat(drawn.weights, 2) / 20)
    mass = np.array([(players - 1) / (s * (players - s)) for s in range(1, players)])
    np.testing.assert_allclose(total[1:-1], mass / mass.sum(), rtol=0.12)


@pytest.mark.parametrize("players", [30, 31])
def test_leverage_draws_all_sizes_alike(players: int) -> None:
    """Half of 30 players are their own complement: a pair is two coalitions of that size."""
    found = choose_coalitions(players, 30 * players, "leverage", seed=1)
    sizes = np.bincount(found.shown[2 * found.listed :].sum(axis=1), minlength=players)[2:-1]
    np.testing.assert_allclose(sizes, sizes.mean(), rtol=0.05)


def test_coalitions_come_with_their_complements_and_depend_on_the_seed() -> None:
    first, again, other = (choose_coalitions(30, 200, "kernel", seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.shown[::2], ~first.shown[1::2])
    np.testing.assert_array_equal(first.shown, again.shown)
    assert not np.array_equal(first.shown, other.shown)
    assert first.listed == 30
    np.testing.assert_array_equal(np.sort(first.shown[:60].sum(axis=1)), [1] * 30 + [29] * 30)


def test_parts_of_the_samples_give_what_all_give_at_once(monkeypatch) -> None:
    """Memory does not grow with the samples: they are converted part by part."""
    coalitions = choose_coalitions(12, 70, "kernel", 2)
    gains, drawn = RNG.normal(size=(70, 2, 3)), np.arange(coalitions.listed, 70)
    fitted = fit_shapley(coalitions, gains, drawn, np.ones(3))
    bits = random_bits(300, 12, 5)
    for rows in (7, 64):
        monkeypatch.setattr(weighted_fit, "_ROWS", rows)
        found = Moments.of(X, Y, WEIGHTS)
        np.testing.assert_allclose(found.gram, MOMENTS.gram, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.cross, MOMENTS.cross, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(fit_shapley(coalitions, gains, drawn, np.ones(3)), fitted, atol=1e-9)
        np.testing.assert_array_equal(random_bits(300, 12, 5), bits)


def trace_of_four(bits: np.ndarray, scores: np.ndarray, square: float) -> float:
    """HSIC as in the paper."""
    alike, centring = (bits[:, None] == bits).astype(float), np.eye(len(bits)) - 1 / len(bits)
    kernel = np.exp(-((scores[:, None] - scores) ** 2) / (2 * square))
    return float(np.trace(alike @ centring @ kernel @ centring)) / (len(bits) - 1) ** 2


@pytest.mark.parametrize("count", [16, 37, 64])
@pytest.mark.parametrize("players", [1, 5, 300])
def test_hsic_and_hsic_without_a_group_are_the_traces_of_the_copies_that_are_left(
    monkeypatch, count: int, players: int
) -> None:
    monkeypatch.setattr(hsic_sums, "_COLUMNS", 3)
    shown, scores = balanced_bits(count, players, 1), RNG.normal(size=count) + 3
    square, group = median_square(scores), np.arange(count) % 8
    found, without = dependence(shown, scores)
    expected = [trace_of_four(bits, scores, square) for bits in shown.T]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)
    for number in range(8):
        left = group != number
        expected = [trace_of_four(bits, scores[left], square) for bits in shown[left].T]
        np.testing.assert_allclose(without[number], expected, rtol=1e-9, atol=1e-15)


WIDTHS = {
    "all alike": [3.0, 3.0, 3.0],
    "three": [1.0, 2.0, 4.0],
    "two alike": [0.5, 0.5, 0.1, 0.9],
    "two": [np.pi, 0.0],
    "float32": RNG.random(400).astype(np.float32).astype(float),
    "most alike": np.repeat([0.25, 0.5, 0.75], [40, 3, 2]),
    "far from 0, near each other": 1e6 + RNG.integers(0, 9, 101) / 16,
    "of very different sizes": 10.0 ** -RNG.integers(0, 30, 64),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_the_width_of_hsics_kernel_is_the_median_distance_of_different_scores(name: str) -> None:
    scores = np.array(WIDTHS[name])
    apart = (np.subtract.outer(scores, scores) ** 2)[np.triu_indices(len(scores), 1)]
    different = apart[apart > 0]
    assert median_square(scores) == (np.median(different) if different.size else 0)
