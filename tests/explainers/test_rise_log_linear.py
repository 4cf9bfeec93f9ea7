"""The log-linear estimator: its model, its map in closed form, what is shown, and what is said of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from onnxplain.contract import HeadSpec
from onnxplain.errors import OnnxplainError
from onnxplain.explainers import RISE, Explanation
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.masked.masks import MaskDraw, MaskGeometry
from onnxplain.explainers.rise.log_linear import LogLinearFit, LogSums, fit_log_linear, map_log_linear, shape_prior
from onnxplain.explainers.rise.log_linear_map import why_no_model
from onnxplain.explainers.rise.principal_components import PrincipalComponents, find_components
from onnxplain.explainers.rise.samplers import IndependentSampler
from onnxplain.explainers.rise.shrinkage import shrink_by_bands
from tests.explainers.synthetic import BLACK, GRID, SIZE_HW, WHITE, curved, exact_maps
from tests.explainers.tiny_model import MakeModel

Scores = Callable[[np.ndarray], np.ndarray]
LARGE = MaskGeometry((96, 130), grid=5, keep=0.4)


def explain(scores: Scores, masks: int, estimator: str = "log-linear", **options) -> Explanation:
    return RISE(scores, SIZE_HW, masks=masks, grid=GRID, estimator=estimator, fill=BLACK, batch_size=64, **options)(
        WHITE, 0
    )


def shown(batch_nchw: np.ndarray) -> np.ndarray:
    return batch_nchw.mean(axis=1, dtype=np.float64) / 255


def images(components: PrincipalComponents) -> np.ndarray:
    return components.maps(np.eye(len(components)))


def every_mask(geometry: MaskGeometry) -> tuple[np.ndarray, MaskDraw]:
    """All grids at all shifts, each with its probability."""
    grids = np.array(list(itertools.product([False, True], repeat=geometry.grid**2)))
    shifts = list(np.ndindex(*geometry.cell_hw))
    ones = grids.sum(axis=1)
    weights = geometry.keep**ones * (1 - geometry.keep) ** (geometry.grid**2 - ones) / len(shifts)
    repeated = np.repeat(grids.reshape(-1, geometry.grid, geometry.grid), len(shifts), axis=0)
    return np.repeat(weights, len(shifts)), MaskDraw(repeated, np.tile(shifts, (len(grids), 1)))


def random_slopes(components: PrincipalComponents, size: float) -> np.ndarray:
    rng = np.random.default_rng(4)
    return size * rng.normal(size=components.fitted) / np.sqrt(components.variances[: components.fitted])


@pytest.mark.parametrize("keep", [0.5, 0.3])
def test_the_closed_form_is_the_sum_over_every_mask(keep: float) -> None:
    geometry = MaskGeometry((9, 14), grid=3, keep=keep)
    components = find_components(geometry)
    slopes = random_slopes(components, 0.3)
    weights, draw = every_mask(geometry)
    scores = np.exp(-0.7 + components.values(draw)[:, : components.fitted] @ slopes)
    exact = np.einsum("n,nyx->yx", weights * scores, geometry.render(draw), optimize=True) / keep
    found = map_log_linear(components, LogLinearFit(-0.7, slopes, 1))
    np.testing.assert_allclose(weights @ scores + np.tensordot(found, images(components), 1), exact, rtol=1e-5)


def test_the_closed_form_over_groups_of_shifts_is_that_of_sampled_masks() -> None:
    """Cells of 20 × 26 pixels: 520 shifts in 64 groups."""
    components = find_components(LARGE)
    slopes = random_slopes(components, 0.12)
    draw = IndependentSampler(LARGE, 3).draw(0, 8_000)
    values = components.values(draw)
    scores = np.exp(0.2 + values[:, : components.fitted] @ slopes)
    sampled = (scores - scores.mean()) @ values / len(scores) / LARGE.keep
    found = map_log_linear(components, LogLinearFit(0.2, slopes, 1))
    maps = [np.tensordot(each, images(components), 1) for each in (found, sampled)]
    assert np.corrcoef(*(each.ravel() for each in maps))[0, 1] > 0.98
    assert found @ sampled / (found @ found) == pytest.approx(1, abs=0.05)


def log_sums(values: np.ndarray, logs: np.ndarray) -> LogSums:
    return LogSums(
        len(logs), values.sum(axis=0), values.T @ values, logs.sum(), logs @ logs, values.T @ logs
    )  # fmt: skip


def test_the_fit_is_the_ridge_regression_with_the_largest_evidence() -> None:
    """Against the density of the logarithms under the model, ratio by ratio."""
    rng = np.random.default_rng(0)
    values, prior = rng.normal(size=(40, 6)), np.diag([4.0, 2, 1, 1, 0.5, 0.1])
    logs = 3 + values @ rng.normal(size=6) + 2 * rng.normal(size=40)
    fit = fit_log_linear(log_sums(values, logs), prior)
    z, y = values - values.mean(axis=0), logs - logs.mean()
    scale = np.linalg.eigvalsh(np.sqrt(prior) @ z.T @ z @ np.sqrt(prior)).mean()
    best = None
    for ratio in scale * np.exp(np.linspace(-9, 6, 21)):
        covariance = np.eye(40) + z @ prior @ z.T / ratio
        evidence = 39 * np.log(y @ np.linalg.solve(covariance, y)) + np.linalg.slogdet(covariance)[1]
        if best is None or evidence < best[0]:
            best = evidence, np.linalg.solve(z.T @ z + ratio * np.linalg.inv(prior), z.T @ y)
    np.testing.assert_allclose(fit.slopes, best[1], rtol=1e-6)
    assert fit.intercept == pytest.approx(logs.mean() - fit.slopes @ values.mean(axis=0))
    again = fit_log_linear(log_sums(values, logs), prior, fit.ratio)
    np.testing.assert_allclose(again.slopes, fit.slopes)


def test_a_score_that_is_log_linear_is_found() -> None:
    components = find_components(LARGE)
    slopes = random_slopes(components, 0.1)
    values = components.values(IndependentSampler(LARGE, 1).draw(0, 400))[:, : components.fitted]
    found = fit_log_linear(log_sums(values, 0.5 + values @ slopes))
    np.testing.assert_allclose(found.slopes, slopes, rtol=0.05, atol=0.01 * np.abs(slopes).max())


def test_the_priors_shape_by_its_definition() -> None:
    geometry = MaskGeometry((15, 21), grid=5)
    components = find_components(geometry)
    coefficients = np.random.default_rng(1).normal(size=len(components))
    fitted = components.fitted
    phi = images(components)[:fitted]
    square = np.tensordot(coefficients[:fitted] / np.sqrt(components.variances[:fitted]), phi, 1) ** 2
    for axis, cell in enumerate(geometry.cell_hw):
        places = np.arange(square.shape[axis])
        blur = np.exp(-0.5 * ((places[:, None] - places) / (0.75 * cell)) ** 2)
        square = np.moveaxis(np.tensordot(blur / blur.sum(axis=1, keepdims=True), square, (1, axis)), 0, axis)
    shape = 0.9 * square / square.mean() + 0.1
    expected = np.einsum("kyx,yx,lyx->kl", phi, shape, phi)
    np.testing.assert_allclose(shape_prior(components, coefficients), expected, atol=1e-6)
    np.testing.assert_allclose(shape_prior(components, 0 * coefficients), np.eye(fitted), atol=1e-6)


@pytest.mark.parametrize("count", [256, 120, 40, 4])
def test_the_shrinkage_by_its_formula(count: int) -> None:
    rng = np.random.default_rng(count)
    variances = np.sort(rng.uniform(0.1, 5, count))[::-1]
    model, weights = rng.normal(size=count), np.full(8, 1 / 8)
    replicates = 1.3 * model + np.linspace(1, 0, count) + 0.5 * rng.normal(size=(8, count))
    a = replicates.mean(axis=0)
    v = replicates.var(axis=0, ddof=1) / 8
    beta = (a * model / variances)[:64].sum() / (model**2 / variances)[:64].sum()
    expected = beta * model
    edges = [0, 3, 8, 15, 24, 35, 48, 64, 100, 160, 256]
    for band in (slice(low, min(high, count)) for low, high in itertools.pairwise(edges) if low < count):
        far = a[band] - beta * model[band]
        expected[band] += max(0, 1 - max(0, 1 - 2 / len(far)) * v[band].sum() / (far**2).sum()) * far
    np.testing.assert_allclose(shrink_by_bands(replicates, weights, model, variances), expected)


def one_cell(batch: np.ndarray) -> np.ndarray:
    return shown(batch)[:, 4:7, 7:10].mean(axis=(1, 2))[:, None]


def additive(batch: np.ndarray) -> np.ndarray:
    weights = np.linspace(0, 1, SIZE_HW[1]) * np.linspace(0.5, 1, SIZE_HW[0])[:, None]
    return (shown(batch) * weights).mean(axis=(1, 2))[:, None]


def multiplied(batch: np.ndarray) -> np.ndarray:
    seen = shown(batch)
    return np.exp(3 * seen[:, :6, :6].mean(axis=(1, 2)) + 2 * seen[:, 6:, 12:].mean(axis=(1, 2)))[:, None] / 150


def exclusive(batch: np.ndarray) -> np.ndarray:
    """Either of two places, but not both: no model that adds or multiplies sees it."""
    seen = shown(batch)
    first, second = seen[:, :4, :6].mean(axis=(1, 2)), seen[:, 8:, 12:].mean(axis=(1, 2))
    return (first * (1 - second) + second * (1 - first))[:, None]


@pytest.mark.parametrize(
    ("scores", "keep", "correlation", "gain"),
    [(one_cell, 0.5, 0.99, 2), (additive, 0.5, 0.98, 2), (multiplied, 0.5, 0.99, 1), (exclusive, 0.3, 0.9, 1.3)],
)
def test_known_answers(scores: Scores, keep: float, correlation: float, gain: float) -> None:
    """Correlation with the exact map after 320 masks, and at most `gain` times the error of the unbiased map.

    At keep = ½ the exact map of `exclusive` is flat.
    """
    (truth,) = exact_maps(scores, keep)
    found = [explain(scores, 320, seed=seed, keep=keep) for seed in range(3)]
    for explanation in found:
        assert explanation.report.no_model is None
        assert np.corrcoef(explanation.shown.ravel(), truth.ravel())[0, 1] > correlation
    errors = np.array([[np.std(getattr(each, name) - truth) for name in ("shown", "raw")] for each in found])
    root = np.sqrt((errors**2).mean(axis=0))
    assert root[0] < gain * root[1]


def test_the_heatmap_shows_the_shrunk_map_and_raw_stays_unbiased() -> None:
    explanation, default = explain(curved, 320), explain(curved, 320, "default")
    np.testing.assert_array_equal(explanation.raw, default.raw)
    np.testing.assert_array_equal(explanation.report.standard_error, default.report.standard_error)
    assert explanation.report.relative_error == default.report.relative_error
    np.testing.assert_array_equal(explanation.shown, explanation.report.shrunk)
    np.testing.assert_array_equal(default.shown, default.raw)
    placed = explanation.frame.map_to_image(explanation.shown)
    np.testing.assert_allclose(explanation.heatmap, (placed - placed.min()) / np.ptp(placed), atol=1e-5)
    assert explanation.no_heat == explanation.shown.min() != explanation.raw.min()


def test_the_error_that_is_stated_is_found_on_a_map_that_is_known() -> None:
    truth = exact_maps(curved, 0.5)[0]
    true, unbiased, stated, inside = [], [], [], []
    for seed in range(10):
        explanation = explain(curved, 320, seed=seed)
        error = explanation.shown - truth
        true.append(np.std(error) / explanation.shown.std())
        unbiased.append(np.std(explanation.raw - truth) / explanation.raw.std())
        stated.append(explanation.report.shrunk_error)
        inside.append(np.abs(error) <= 2.365 * explanation.report.standard_error)
    true, unbiased, stated = (np.sqrt(np.mean(np.square(each))) for each in (true, unbiased, stated))
    assert true < 0.85 * unbiased
    assert 0.75 < stated / true < 1.4
    assert np.mean(inside) > 0.9


CLASSES = HeadSpec("kind", "classes", 3, "kind")


@pytest.mark.parametrize(
    ("placed", "why"),
    [
        (PlacedTarget(0, CLASSES), None),
        (PlacedTarget(0, HeadSpec("tags", "labels", 3, "tags")), None),
        (PlacedTarget(0, HeadSpec("mask", "mask", 3, "mask", map_size_hw=(8, 8))), None),
        (PlacedTarget(0, CLASSES, against=1), "difference"),
        (PlacedTarget(0, CLASSES, sign=-1), "negated"),
        (PlacedTarget(0, HeadSpec("age", "values", 1, "age")), "values"),
        (PlacedTarget(0, HeadSpec("face", "embedding", 16, "face")), "embedding"),
    ],
)
def test_targets_whose_scores_may_be_negative_have_no_model(placed: PlacedTarget, why: str | None) -> None:
    assert why_no_model(placed) == why


@pytest.mark.parametrize(
    ("scores", "masks", "why", "words"),
    [
        (lambda batch: curved(batch) - 0.4, 320, "negative", "a score was negative"),
        (lambda batch: np.maximum(one_cell(batch) - 0.999, 0), 64, "zero", "the first scores are all 0"),
        (curved, 15, "few", "too few masks"),
    ],
)
def test_scores_without_a_model_show_the_unbiased_map_and_say_so(
    scores: Scores, masks: int, why: str, words: str
) -> None:
    grown = scores if why != "zero" else late(scores)
    explanation = explain(grown, 128 if why == "zero" else masks)
    assert explanation.report.no_model == explanation.report.as_json()["no_model"] == why
    assert explanation.report.shrunk is None
    assert explanation.shown is explanation.raw
    assert explanation.report.map_error == explanation.report.relative_error
    assert explanation.report.summary().endswith(f"masks, no log-linear model: {words})")


def late(scores: Scores) -> Scores:
    """0 for the first block of masks."""
    calls = itertools.count()
    return lambda batch: curved(batch) if next(calls) > 1 else np.zeros((len(batch), 3))


def test_the_report_says_both_errors() -> None:
    report = explain(curved, 320).report
    assert report.as_json()["shrunk_error"] == report.map_error == report.shrunk_error
    assert report.shrunk_error >= 0.5 * report.relative_error
    assert report.summary() == f"error {100 * report.shrunk_error:.1f} % (320 masks)"


def test_a_tolerance_is_that_of_the_unbiased_map() -> None:
    found, default = (explain(curved, 1280, name, tolerance=0.1) for name in ("log-linear", "default"))
    assert found.report.masks == default.report.masks < 1280
    with pytest.raises(OnnxplainError, match="found estimator log-linear, expected default"):
        tally = next(
            RISE(curved, SIZE_HW, masks=64, grid=GRID, estimator="log-linear", fill=BLACK).stream(WHITE, 0)
        ).tally
        RISE(curved, SIZE_HW, masks=64, grid=GRID, fill=BLACK).stream(WHITE, 0, tally=tally)


def test_targets_of_one_run_each_have_their_own_map_or_reason(make_model: MakeModel) -> None:
    rise = RISE(make_model().engine, masks=128, estimator="log-linear")
    image = np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    together = rise.for_targets(image, ["ant", "not:bee", "cat"])
    assert [each.report.no_model for each in together] == [None, "negated", None]
    for target, explanation in zip(["ant", "not:bee", "cat"], together, strict=True):
        alone = rise(image, target)
        np.testing.assert_allclose(explanation.shown, alone.shown, rtol=1e-6)
        assert explanation.report.no_model == alone.report.no_model
    assert rise(image, "ant", against="bee").report.no_model == "difference"


def test_the_memory_does_not_depend_on_the_number_of_masks() -> None:
    sizes = []
    for masks in (64, 640):
        *_, last = RISE(curved, SIZE_HW, masks=masks, grid=GRID, estimator="log-linear", fill=BLACK).stream(WHITE, 0)
        sizes.append(sum(array.nbytes for array in vars(last.tally.sums).values()))
    assert sizes[0] == sizes[1]
