"""Scorers whose answer theory knows: one that reads one player, a sum, an exclusive or, and one that tangles all."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain.explainers import AISE, HSIC, LIME, KernelSHAP, Occlusion, Sobol
from tests.explainers.hiding.scorers import (
    BLACK,
    LABELS,
    PLAYERS,
    SIZE_HW,
    WEIGHTS,
    WHITE,
    Game,
    additive,
    exclusive,
    one,
    scorer,
    shapley_values,
    tangled,
)

METHODS = {
    "occlusion": Occlusion,
    "shap": KernelSHAP,
    "lime": LIME,
    "sobol": Sobol,
    "hsic": HSIC,
}


def explained(method: str, game: Game, **options):
    """The explanation of a white image, black where a player is hidden."""
    return METHODS[method](scorer(game), SIZE_HW, fill=BLACK, players=LABELS, **options)(WHITE, 0)


def values_of(method: str, game: Game, **options) -> np.ndarray:
    return explained(method, game, **options).report.values


@pytest.mark.parametrize("game", [one, additive, exclusive, tangled])
def test_all_coalitions_give_the_shapley_values(game: Game) -> None:
    found = explained("shap", game)
    assert found.evaluations == 2**PLAYERS
    np.testing.assert_allclose(found.report.values, shapley_values(game), atol=1e-6)
    assert found.report.relative_error in (0, None)
    np.testing.assert_array_equal(found.raw, found.report.values.astype(np.float32)[LABELS])


@pytest.mark.parametrize("sampling", ["kernel", "leverage"])
@pytest.mark.parametrize("evaluations", [21, 60, 200])
def test_efficiency_is_exact_for_any_number_of_coalitions(sampling, evaluations: int) -> None:
    whole, empty = tangled(np.ones((1, PLAYERS)))[0], tangled(np.zeros((1, PLAYERS)))[0]
    found = explained("shap", tangled, evaluations=evaluations + 1, sampling=sampling)
    assert found.report.values.sum() == pytest.approx(whole - empty, abs=1e-6)
    assert found.report.measured["empty"] == pytest.approx(empty, abs=1e-6)


def test_a_sum_is_found_exactly_by_few_coalitions() -> None:
    np.testing.assert_allclose(values_of("shap", additive, evaluations=23), WEIGHTS, atol=1e-6)


def test_an_exclusive_or_of_two_has_no_shapley_value_and_no_linear_coefficient() -> None:
    """v is 0 both with none and with both, and each is worth 1 alone and −1 beside the other."""
    np.testing.assert_allclose(values_of("shap", exclusive), 0, atol=1e-6)
    assert np.abs(values_of("lime", exclusive, evaluations=3000)[[2, 7]]).max() < 0.2
    drops = values_of("occlusion", exclusive)
    np.testing.assert_allclose(drops, [0, 0, -1, 0, 0, 0, 0, -1, 0, 0], atol=1e-6)
    assert explained("occlusion", exclusive).status == "no_positive_evidence"


@pytest.mark.parametrize(
    ("game", "expected"),
    [
        (one, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        (additive, WEIGHTS**2 / (WEIGHTS**2).sum()),
        # f − ½ = −2 (x₂ − ½)(x₇ − ½): all of the variance belongs to both.
        (exclusive, [0, 0, 1, 0, 0, 0, 0, 1, 0, 0]),
    ],
)
def test_total_sobol_indices_of_known_functions(game: Game, expected) -> None:
    np.testing.assert_allclose(values_of("sobol", game, designs=1024), expected, atol=0.06)


def test_total_sobol_indices_of_the_g_function() -> None:
    """Saltelli & Sobol' 1995: f = Π (|4x − 2| + a) / (1 + a), V_i = 1/(3 (1 + a_i)²)."""
    a = np.array([0.0, 1.0, 4.5, 9.0, 99.0])
    labels = np.repeat(np.arange(5), 24).reshape(6, 20)

    def g(shown: np.ndarray) -> np.ndarray:
        return np.prod((np.abs(4 * shown - 2) + a) / (1 + a), axis=1)

    own = 1 / (3 * (1 + a) ** 2)
    expected = own * np.array([np.prod(1 + np.delete(own, i)) for i in range(5)]) / (np.prod(1 + own) - 1)
    found = Sobol(scorer(g, labels), SIZE_HW, fill=BLACK, players=labels, designs=2048)(WHITE, 0)
    np.testing.assert_allclose(found.report.values, expected, atol=0.05)


def test_hsic_sees_a_player_and_no_exclusive_or() -> None:
    """Where the score has two values, half of the pairs agree; L is 1 there and exp(−½) elsewhere."""
    found = explained("hsic", one, evaluations=801)
    values = found.report.values
    assert values[3] == pytest.approx((1 - np.exp(-0.5)) / 4 * (800 / 799) ** 2, rel=1e-6)
    assert np.delete(values, 3).max() < values[3] / 100
    assert values_of("hsic", exclusive, evaluations=801).max() < values[3] / 100


def test_occlusion_by_player_is_the_drop() -> None:
    found = explained("occlusion", tangled)
    whole = np.ones((1, PLAYERS))
    drops = [tangled(whole)[0] - tangled(whole - np.eye(PLAYERS)[[i]])[0] for i in range(PLAYERS)]
    np.testing.assert_allclose(found.report.values, drops, atol=1e-6)
    assert found.evaluations == 1 + PLAYERS


def test_sliding_windows_are_averaged_where_they_overlap() -> None:
    found = Occlusion(scorer(tangled), SIZE_HW, fill=BLACK, window=0.5, stride=1 / 3)(WHITE, 0)
    total, covered = np.zeros(SIZE_HW), np.zeros(SIZE_HW)
    batch = np.full((1, 3, *SIZE_HW), 255.0)
    whole = scorer(tangled)(batch)[0, 0]
    tops, lefts = (0, 2, 3), (*range(0, 17, 2), 17)
    for top in tops:
        for left in lefts:
            hidden = batch.copy()
            hidden[:, :, top : top + 3, left : left + 3] = 0
            total[top : top + 3, left : left + 3] += whole - scorer(tangled)(hidden)[0, 0]
            covered[top : top + 3, left : left + 3] += 1
    np.testing.assert_allclose(found.raw, total / covered, atol=1e-6)
    assert found.evaluations == 1 + len(tops) * len(lefts)


def test_fewer_evaluations_make_larger_steps() -> None:
    counts = [
        Occlusion(scorer(one), SIZE_HW, fill=BLACK, window=0.5, evaluations=evaluations)(WHITE, 0).evaluations
        for evaluations in (60, 20)
    ]
    assert counts == [31, 15]


def test_aise_finds_the_place_that_the_score_needs() -> None:
    """A scorer of one spot: the map's largest value lies on it."""
    size = (40, 60)
    weights = np.exp(-((np.arange(40)[:, None] - 29) ** 2 + (np.arange(60)[None] - 12) ** 2) / (2 * 3.0**2))

    def spot(batch: np.ndarray) -> np.ndarray:
        return (batch.mean(axis=1) / 255 * weights).sum(axis=(1, 2))[:, None] / weights.sum()

    def whole_spot(batch: np.ndarray) -> np.ndarray:
        """No window alone keeps this score: all gains are negative."""
        return np.maximum(spot(batch) - 0.95, 0)

    for score_function in (spot, whole_spot):
        found = AISE(score_function, size, fill=BLACK)(np.full((*size, 3), 255, np.uint8), 0)
        y, x = np.unravel_index(found.raw.argmax(), size)
        assert abs(y - 29) <= 4 and abs(x - 12) <= 4
        assert found.evaluations == 301
        assert found.report.measured["agreement"] > 0.2
