"""What the methods that hide parts promise: errors, seeds, budgets, Ctrl-C, statuses, and one line for bad input."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxplain.contract import Preprocessing
from onnxplain.errors import OnnxplainError, UnexplainedImageError, UnsupportedError
from onnxplain.explainers import AISE, HSIC, LIME, RISE, Explainer, KernelSHAP, Occlusion, Sobol
from onnxplain.explainers.hiding.jackknife import error_share, jackknife
from tests.detectors.seeing import open_suppressing, photo_of_blobs
from tests.explainers.hiding.scorers import BLACK, LABELS, PLAYERS, SIZE_HW, WHITE, one, scorer, tangled
from tests.explainers.tiny_model import MakeModel
from tests.position_model import open_position_model

PHOTO = np.random.default_rng(3).integers(0, 256, (31, 44, 3), np.uint8)
OPTIONS: dict[type[Explainer], dict[str, Any]] = {
    Occlusion: {"window": 0.5},
    KernelSHAP: {"players": "grid", "cells": 16, "evaluations": 120},
    LIME: {"players": "grid", "cells": 16, "evaluations": 120},
    Sobol: {"cells": 16, "evaluations": 300},
    HSIC: {"cells": 16, "evaluations": 120},
    AISE: {"evaluations": 61},
}
SAMPLING = (KernelSHAP, LIME, Sobol, HSIC)
STOPPABLE = (*SAMPLING, AISE)


def of_white(method: type[Explainer], game: Callable = tangled, **options: Any):
    return method(scorer(game), SIZE_HW, fill=BLACK, **options)(WHITE, 0)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (KernelSHAP, {"evaluations": 81}),
        (KernelSHAP, {"evaluations": 81, "sampling": "leverage"}),
        (LIME, {"evaluations": 201}),
        (Sobol, {"designs": 64}),
        (HSIC, {"evaluations": 301}),
    ],
    ids=["shap", "leverage", "lime", "sobol", "hsic"],
)
def test_the_error_that_is_said_is_the_spread_over_seeds(method: type[Explainer], options: dict) -> None:
    found = [of_white(method, players=LABELS, seed=seed, **options).report for seed in range(24)]
    spread = np.sqrt(np.var([each.values for each in found], axis=0, ddof=1).mean())
    said = np.sqrt(np.mean([each.standard_error**2 for each in found]))
    assert 0.6 < said / spread < 1.6
    relative = found[0].relative_error
    assert relative == pytest.approx(np.sqrt((found[0].standard_error ** 2).mean()) / found[0].values.std())
    assert found[0].map_error == relative
    assert f"error {100 * relative:.1f} %" in found[0].summary()


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    sample = np.random.default_rng(0).normal(size=800)
    mean, error = jackknife(lambda chosen: np.array([[sample[chosen].mean()]]), 800, groups=800 // 2)
    assert mean == sample.mean()
    assert error == pytest.approx(sample.std(ddof=1) / np.sqrt(800), rel=0.1)
    assert jackknife(lambda chosen: np.zeros((1, 1)), 15)[1] is None


@pytest.mark.parametrize("values", [[0.0, 0.0], [0.3, 0.1 + 0.2], [1.0, np.nan]])
def test_values_that_are_alike_up_to_rounding_have_no_relative_error(values: list[float]) -> None:
    assert error_share(np.array(values), np.full(2, 0.01)) is None


@pytest.mark.parametrize("method", OPTIONS)
def test_what_is_planned_is_done_and_reported_as_it_goes(tmp_path: Path, method: type[Explainer]) -> None:
    engine, seen = open_position_model(tmp_path / "model.onnx"), []
    explainer = method(engine, progress=lambda *numbers: seen.append(numbers), **OPTIONS[method])
    first, second = explainer([PHOTO, PHOTO[::-1]], 0)
    assert first.evaluations == second.evaluations == explainer.forward_passes
    assert first.evaluations <= explainer.evaluations if explainer.evaluations else True
    total = 2 * (first.evaluations - 1)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_rise_takes_evaluations_too(tmp_path: Path) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    found, plain = (RISE(engine, **options)(PHOTO, 0) for options in ({"evaluations": 65}, {"masks": 64}))
    assert found.evaluations == plain.evaluations == 65
    np.testing.assert_array_equal(found.raw, plain.raw)


@pytest.mark.parametrize("method", OPTIONS)
def test_neither_batch_size_nor_company_changes_the_map(tmp_path: Path, method: type[Explainer]) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    first = method(engine, batch_size=1, **OPTIONS[method])(PHOTO, 0)
    scale = np.abs(first.raw).max()
    for size in (3, 64):
        other = method(engine, batch_size=size, **OPTIONS[method])(PHOTO, [1, 0])[1]
        np.testing.assert_allclose(other.raw / scale, first.raw / scale, atol=2e-3 if method is AISE else 1e-4)


@pytest.mark.parametrize("method", SAMPLING)
def test_another_seed_gives_another_sample(tmp_path: Path, method: type[Explainer]) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    maps = [method(engine, seed=seed, **OPTIONS[method])(PHOTO, 0).raw for seed in (0, 0, 1)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])


@pytest.mark.parametrize("method", OPTIONS)
def test_a_constant_scorer(method: type[Explainer]) -> None:
    found = method(lambda batch: np.full((len(batch), 2), 0.7), SIZE_HW, **OPTIONS[method])(PHOTO, 1)
    assert found.status == "constant"
    assert not found.raw.any()
    assert not found.heatmap.any()
    assert found.report.relative_error is None


@pytest.mark.parametrize("method", OPTIONS)
def test_scores_of_nan_are_said(make_model: MakeModel, method: type[Explainer]) -> None:
    engine = make_model(kernel=np.full((5, 3, 4, 4), np.nan)).engine
    found = method(engine, **OPTIONS[method])(PHOTO, 0)
    assert (found.status, found.heatmap.any()) == ("non_finite", False)


@pytest.mark.parametrize("method", OPTIONS)
def test_borders_of_a_letterbox_are_never_hidden(make_model: MakeModel, method: type[Explainer]) -> None:
    preprocessing = Preprocessing(mean=(128,) * 3, std=(64,) * 3, resize="letterbox")
    engine = make_model(preprocessing=preprocessing).engine
    found = method(engine, **OPTIONS[method])(np.random.default_rng(1).integers(0, 256, (60, 20, 3), np.uint8), "cat")
    assert found.heatmap.shape == (60, 20)
    if method is not AISE:
        assert not found.raw[:, :11].any() and not found.raw[:, 21:].any()
        assert found.raw[:, 12:20].any()


def test_another_image_and_inpainting_hide_too(tmp_path: Path) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    other = np.random.default_rng(9).integers(0, 256, (10, 10, 3), np.uint8)
    maps = [Occlusion(engine, window=0.5, fill=fill)(PHOTO, 0).raw for fill in ("mean", "blur", "inpaint", other)]
    for number, first in enumerate(maps):
        assert all(not np.array_equal(first, second) for second in maps[:number])
    # The image itself hides nothing.
    assert Occlusion(engine, window=0.5, fill=PHOTO)(PHOTO, 0).status in ("constant", "no_positive_evidence")


@pytest.mark.parametrize("method", OPTIONS)
def test_detections_are_explained(tmp_path: Path, method: type[Explainer]) -> None:
    engine = open_suppressing(tmp_path / "model.onnx")
    found = method(engine, **OPTIONS[method]).for_targets(photo_of_blobs(), ["all"])
    assert len(found) > 1
    for each in found:
        assert each.detection is not None
        x1, y1, x2, y2 = each.detection.xyxy
        y, x = np.unravel_index(each.heatmap.argmax(), each.heatmap.shape)
        margin = 0.35 * max(each.heatmap.shape)
        assert x1 - margin <= x <= x2 + margin and y1 - margin <= y <= y2 + margin
        assert each.method == method.name


class Pressing:
    """A scorer that presses Ctrl-C at its n-th call."""

    def __init__(self, call: int) -> None:
        self.left = call

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return scorer(tangled)(batch)


@pytest.mark.parametrize("method", STOPPABLE)
def test_ctrl_c_keeps_the_map_so_far(method: type[Explainer]) -> None:
    options = {} if method is AISE else {"players": LABELS}
    found = method(Pressing(12), SIZE_HW, fill=BLACK, batch_size=8, **options)(WHITE, 0)
    assert found.report.interrupted
    assert found.report.copies < found.report.planned
    assert "interrupted" in found.report.summary()
    assert found.report.as_json()["stopped"] == "interrupted"
    assert found.raw.any()
    with pytest.raises(KeyboardInterrupt):
        method(Pressing(12), SIZE_HW, fill=BLACK, batch_size=8, **options)([WHITE, WHITE], 0)


def test_ctrl_c_ends_the_work_for_all_targets() -> None:
    """Also where the model raises it. The copies of AISE depend on the target, so each target has its own."""
    calls = []

    def stops(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        if len(calls) == 12:
            raise KeyboardInterrupt
        return np.repeat(scorer(tangled)(batch), 2, axis=1)

    found = AISE(stops, SIZE_HW, fill=BLACK).for_targets(WHITE, [0, 1])
    assert [each.report.interrupted for each in found] == [True, True]
    assert len(calls) == 12


@pytest.mark.parametrize("method", STOPPABLE)
def test_ctrl_c_before_there_is_a_map(method: type[Explainer]) -> None:
    """Two batches of two are no map for any method of players: it is constant, and the report says why."""
    options = {} if method is AISE else {"players": LABELS}
    found = method(Pressing(2), SIZE_HW, fill=BLACK, batch_size=2, **options)(WHITE, 0)
    assert found.report.interrupted
    if method is not AISE:
        assert (found.status, found.raw.any()) == ("constant", False)


def test_ctrl_c_ends_occlusion_without_a_map() -> None:
    with pytest.raises(KeyboardInterrupt):
        Occlusion(Pressing(3), SIZE_HW, fill=BLACK, batch_size=2)(WHITE, 0)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (
            Occlusion,
            {"evaluations": 10},
            r"^evaluations: found 10, expected at least 121 for occlusion: give",
        ),
        (
            Occlusion,
            {"players": "grid", "evaluations": 48},
            "^evaluations: found 48, expected at least 49 for",
        ),
        (Occlusion, {"window": 0}, "^window: found 0, expected a share"),
        (
            Occlusion,
            {"window": 0.2, "stride": 0.3},
            "^stride: found 0.3 for windows of 0.2, expected",
        ),
        (Occlusion, {"players": "grid", "window": 0.3}, "^window, stride: found one of them beside players"),
        (Occlusion, {"players": "grid", "stride": 0.1}, "^window, stride: found one of them beside players"),
        (KernelSHAP, {"players": "grid", "evaluations": 85}, "^evaluations: found 85, expected at least 86 for shap"),
        (LIME, {"players": "grid", "evaluations": 42}, "^evaluations: found 42, expected at least 43 for lime with 42"),
        (
            Sobol,
            {"evaluations": 134},
            r"^evaluations: found 134, expected at least 135 for sobol with 66",
        ),
        (HSIC, {"evaluations": 8}, "^evaluations: found 8, expected at least 9 for hsic"),
        (HSIC, {"evaluations": 100_002}, "^evaluations: found 100002, expected at most 100001 for hsic: the time"),
        (AISE, {"evaluations": 30}, "^evaluations: found 30, expected at least 31 for aise with 3 widths"),
        (AISE, {"widths": ()}, r"^widths: found \(\), expected positive"),
        (RISE, {"evaluations": 1}, "^evaluations: found 1, expected at least 2 for rise"),
        (RISE, {"evaluations": 9, "masks": 4}, "^evaluations: found 9 beside 4 masks, expected one of the two"),
        (RISE, {"fill": "inpaint"}, '^fill: found "inpaint" for rise, whose masks are smooth'),
        (AISE, {"fill": "inpaint"}, '^fill: found "inpaint" for aise, whose masks are smooth, expected "mean"'),
        (Sobol, {"fill": "inpaint"}, '^fill: found "inpaint" for sobol, whose masks are smooth, expected "mean"'),
        (Sobol, {"designs": 1}, "^designs: found 1, expected at least 2"),
        (LIME, {"width": 0.0}, r"^width: found 0\.0, expected a positive"),
        (LIME, {"features": 3}, '^features: found for fit "ridge", expected fit "lasso"'),
        (KernelSHAP, {"cells": 1}, "^cells: found 1, expected at least 2"),
        (KernelSHAP, {"seed": -1}, "^seed: found -1"),
        (HSIC, {"players": "circles"}, "^players: found 'circles', expected one of grid"),
    ],
)
def test_what_is_refused_before_an_image_is_seen(method: type[Explainer], options: dict, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        method(scorer(one), SIZE_HW, **options)


# Of a model's input of 500 × 400 pixels, and the most that a method takes of them.
LARGE_HW = (500, 400)
MOST = {KernelSHAP: 2_025, LIME: 2_025, Sobol: 4_000, HSIC: 20_000}


@pytest.mark.parametrize("players", ["grid", "superpixels", "quadtree"])
@pytest.mark.parametrize("method", [*MOST, Occlusion])
def test_absurdly_many_players_are_refused_before_anything_runs(method: type[Explainer], players: str) -> None:
    def never(batch: np.ndarray) -> np.ndarray:
        raise AssertionError("the model ran")

    if method is Occlusion:
        # Every player is hidden once, and there are no more than pixels: the evaluations are known.
        assert method(never, LARGE_HW, players=players, cells=10**18).passes.forward == 200_001
        return
    most = MOST[method]
    for cells in (most + 1000, 10**6, 10**18):
        with pytest.raises(OnnxplainError, match=rf"^cells: found \d+ players, expected at most {most} for"):
            method(never, LARGE_HW, players=players, cells=cells)
    # Evaluations for the most that are taken are stated at once.
    assert method(never, LARGE_HW, players="quadtree", cells=most).passes.forward > 0


@pytest.mark.parametrize("method", MOST)
def test_absurdly_many_labels_are_refused_when_the_image_is_seen(method: type[Explainer]) -> None:
    photo = np.zeros((*LARGE_HW, 3), np.uint8)
    labels = np.arange(LARGE_HW[0] * LARGE_HW[1]).reshape(LARGE_HW)
    with pytest.raises(OnnxplainError, match=r"^cells: found 200000 players, expected at most"):
        method(lambda batch: batch[:, :, 0, 0], LARGE_HW, players=labels)(photo, 0)


@pytest.mark.parametrize("estimator", ["paper", "centred", "sobol", "default"])
def test_cells_of_rise_below_a_pixel_are_refused(estimator: str) -> None:
    with pytest.raises(OnnxplainError, match=r"^grid: found 100000, expected at most "):
        RISE(scorer(one), SIZE_HW, grid=100_000, estimator=estimator)


def test_lime_scores_more_copies_where_there_are_more_players() -> None:
    """A thousand copies of 600 players and more would leave the linear model open."""
    assert LIME(scorer(one), LARGE_HW, players="quadtree", cells=400).passes.forward == 1_000
    assert LIME(scorer(one), LARGE_HW, players="quadtree", cells=600).passes.forward == 1_201


def test_what_is_refused_when_the_image_is_seen() -> None:
    labels = np.arange(6 * 20).reshape(6, 20)
    with pytest.raises(OnnxplainError, match=r"^evaluations: found 100, expected at least 242 for shap with 120"):
        KernelSHAP(scorer(one), SIZE_HW, players=labels, evaluations=100)(WHITE, 0)
    with pytest.raises(OnnxplainError, match=r"^players: found a label map of 6 × 20 for an image of 31 × 44"):
        LIME(scorer(one), SIZE_HW, players=labels)(PHOTO, 0)
    with pytest.raises(OnnxplainError, match=r"^players: found 1 \(label map\), expected at least 2"):
        HSIC(scorer(one), SIZE_HW, players=0 * labels)(WHITE, 0)
    with pytest.raises(OnnxplainError, match=r"^target: found all, expected|^target: found 'all'"):
        LIME(scorer(one), SIZE_HW, players=labels)(WHITE, "all")


def test_too_few_evaluations_for_the_superpixels_of_an_image_are_an_error_of_this_image() -> None:
    pytest.importorskip("skimage")
    shap = KernelSHAP(scorer(one), SIZE_HW, players="superpixels", cells=9, evaluations=20)
    with pytest.raises(UnexplainedImageError, match=r"^evaluations: found 20, expected at least 22 for shap with 10"):
        shap(WHITE, 0)


@pytest.mark.parametrize("method", [Sobol, HSIC])
def test_a_map_without_sign_explains_no_evidence_against(method: type[Explainer]) -> None:
    with pytest.raises(UnsupportedError, match=f"^{method.name}: found not:, expected a target alone"):
        method(scorer(one), SIZE_HW, players=LABELS).check_target("not:0")


@pytest.mark.parametrize(
    ("method", "options", "summary"),
    [
        (Sobol, {"players": LABELS, "designs": 4}, f"error unknown ({4 * (1 + PLAYERS)} copies, label map)"),
        (Occlusion, {"players": LABELS}, f"({PLAYERS} copies, label map)"),
    ],
)
def test_an_error_that_is_not_known_is_said(method: type[Explainer], options: dict, summary: str) -> None:
    """A method without chance has no error."""
    assert of_white(method, **options).report.summary().startswith(summary)


def test_the_number_of_players_is_that_of_the_labels() -> None:
    assert len(of_white(HSIC, players=LABELS).report.values) == PLAYERS


def test_lasso_keeps_to_its_features() -> None:
    found = of_white(LIME, players=LABELS, fit="lasso", features=3)
    assert np.count_nonzero(found.report.values) == 3
    assert 0 < found.report.measured["r2"] <= 1
    assert of_white(LIME, one, players=LABELS, fit="lasso", features=1).report.values[3] == pytest.approx(0.5, abs=1e-6)
