"""Methods at the pixels: what they promise beside their formulas (tests/explainers/kinds)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxplain import explain
from onnxplain.contract import Preprocessing
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import (
    GradientSHAP,
    InputXGradient,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
    VarGrad,
    build,
)
from onnxplain.explainers.pixels.path_explainer import CompletenessReport
from onnxplain.runtime import Engine
from tests.explainers.kinds.kind_networks import open_kind
from tests.explainers.tiny_model import GRID_HW, INPUT_SIZE_HW, MakeModel
from tests.exporters.onnx_models import plain_model, save

PHOTO = np.random.default_rng(3).integers(0, 256, (31, 44, 3), np.uint8)


@pytest.mark.parametrize("fill", ["mean", "blur", (255.0, 0.0, 9.0), PHOTO[::-1]], ids=["mean", "blur", "red", "image"])
def test_the_map_adds_up_to_the_change_from_the_baseline(tmp_path: Path, fill) -> None:
    """The network has ReLUs, max pooling and tanh. More steps, less error."""
    e = open_kind("curved classes", tmp_path)
    errors = []
    for steps in (2, 200):
        found = IntegratedGradients(e.engine, steps=steps, fill=fill)(e.image, 1)
        report = found.report
        assert report.total == pytest.approx(found.raw.sum(dtype=np.float64), abs=1e-5)
        assert report.completeness_error == pytest.approx(abs(report.total - report.change) / abs(report.change))
        assert report.as_json()["steps"] == steps
        errors.append(abs(report.total - report.change) / np.abs(found.raw).sum())
    assert errors[1] < 1e-3 and errors[1] < errors[0]
    # The change is that of the number that is differentiated.
    if isinstance(fill, str) and fill == "mean":
        pixels = e.pixels()
        expected = e.y(e.network.features(pixels)) - e.y(e.network.features(0 * pixels))
        assert report.change == pytest.approx(float(expected.detach()), abs=1e-5)


def test_a_sum_that_is_off_is_said() -> None:
    assert CompletenessReport(3.0, 1.0, 5).caution == "the map does not add up"
    assert CompletenessReport(1.1, 1.0, 5).summary() == "completeness error 10 % (5 steps)"
    drawn = CompletenessReport(1.1, 1.0, 5, drawn=True)
    assert drawn.summary() == "error unknown, completeness error 10 % (5 samples)"
    nothing = CompletenessReport(0.0, 0.0, 5)
    assert (nothing.completeness_error, nothing.caution, nothing.summary()) == (None, "", "(5 steps)")
    assert CompletenessReport(float("nan"), 1.0, 5).as_json()["total"] is None


@pytest.mark.parametrize(
    ("method", "samples", "within"),
    # All pixels of grad-shap share one draw of points, so 40 seeds tell its spread less exactly.
    [(SmoothGrad, 24, 0.06), (VarGrad, 40, 0.06), (GradientSHAP, 24, 0.4)],
)
def test_the_stated_error_is_the_spread_over_seeds(make_model: MakeModel, method, samples: int, within: float) -> None:
    """The score is a quadratic form in each cell, as no ReLU is off: g(x + n) = Q x + Q n, Q = Σ_k 2 w_k κ_k κ_kᵀ."""
    kernel = np.abs(np.random.default_rng(5).normal(size=(5, 3, 4, 4)))
    plain = Preprocessing(scale=1 / 255, mean=(0,) * 3, std=(1,) * 3, resize="stretch")
    model = make_model(power=2, pixels=True, kernel=kernel, preprocessing=plain)
    image = np.random.default_rng(6).integers(90, 256, (*INPUT_SIZE_HW, 3), np.uint8)
    found = [method(model.engine, samples=samples, seed=seed)(image, "cat") for seed in range(40)]
    raws = np.stack([each.raw.astype(np.float64) for each in found])
    errors = np.stack([each.report.standard_error for each in found])
    spread, stated = np.sqrt(raws.var(axis=0, ddof=1).mean()), np.sqrt((errors**2).mean())
    assert stated == pytest.approx(spread, rel=within)
    report = found[0].report
    assert report.map_error == pytest.approx(np.sqrt((errors[0] ** 2).mean()) / raws[0].std(), rel=1e-5)
    assert report.as_json()["relative_error"] == report.map_error
    assert report.summary().startswith(f"error {100 * report.map_error:.1f} %")
    if method is not GradientSHAP:
        cells = INPUT_SIZE_HW[0] * INPUT_SIZE_HW[1] / 16
        flat = kernel.reshape(5, -1)
        form = 2 / cells * np.einsum("k,kp,kq->pq", model.weights[2], flat, flat)
        deviation = 0.15 * (float(image.max()) - float(image.min())) / 255
        variances = (deviation**2 * (form**2).sum(axis=1)).reshape(3, 4, 4)
        if method is VarGrad:
            # The variance of a variance of n normal numbers is 2 v² / n.
            known = 2 * np.tile(variances.max(axis=0) ** 2, GRID_HW) / samples
        else:
            inside = model.features(image.transpose(2, 0, 1)[None] / 255)[0]
            gradients = 2 / cells * np.einsum("k,kyx,kcij->cyixj", model.weights[2], inside, model.kernel)
            largest = np.abs(gradients.reshape(3, *INPUT_SIZE_HW)).argmax(axis=0)
            known = np.take_along_axis(np.tile(variances, (1, *GRID_HW)), largest[None], axis=0) / samples
        assert stated == pytest.approx(np.sqrt(known.mean()), rel=0.1)


@pytest.mark.parametrize("method", [SmoothGrad, VarGrad, GradientSHAP])
def test_fewer_than_16_copies_have_no_error(make_model: MakeModel, method) -> None:
    found = method(make_model(power=2, pixels=True).engine, samples=15)(PHOTO, 0)
    assert (found.report.map_error, found.report.standard_error) == (None, None)


@pytest.mark.parametrize("method", [SmoothGrad, VarGrad, GradientSHAP])
def test_the_seed_decides_and_copies_are_counted(make_model: MakeModel, method) -> None:
    engine, seen = make_model(power=2, pixels=True).engine, []
    first, again, other = (
        method(engine, samples=9, seed=seed, progress=lambda *numbers: seen.append(numbers))([PHOTO, PHOTO], 0)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first[1].raw, again[0].raw)
    assert not np.array_equal(first[0].raw, other[0].raw)
    assert seen[:4] == [(8, 18), (9, 18), (17, 18), (18, 18)]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (Saliency, {"layer": "stem/relu"}, "^layer: found 'stem/relu' for saliency, which works at the layer input"),
        (IntegratedGradients, {"steps": 0}, "^steps: found 0, expected 1 to 2000"),
        (IntegratedGradients, {"fill": "inpaint"}, '^fill: found "inpaint" for integrated-gradients'),
        (SmoothGrad, {"samples": 1}, "^samples: found 1, expected at least 2"),
        (SmoothGrad, {"noise": 0.0}, r"^noise: found 0\.0, expected a positive"),
        (GradientSHAP, {"seed": -1}, "^seed: found -1"),
    ],
)
def test_what_is_refused(make_model: MakeModel, method, options: dict, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        method(make_model(pixels=True).engine, **options)


def test_a_file_without_the_layer_is_refused_with_what_works(make_model: MakeModel) -> None:
    with pytest.raises(UnsupportedError, match=r"^saliency: needs the instrumented layer `input`, .*: cam, grad-cam"):
        Saliency(make_model().engine)
    assert "layer" not in Saliency.option_names()


def test_nan_is_said(make_model: MakeModel) -> None:
    engine = make_model(kernel=np.full((5, 3, 4, 4), np.nan), pixels=True).engine
    for method in (Saliency, InputXGradient, IntegratedGradients):
        found = method(engine)(PHOTO, 0)
        assert found.status == "non_finite"
        assert not found.heatmap.any()


def test_a_plain_file_gets_the_layer_on_the_way(tmp_path: Path) -> None:
    plain = save(plain_model(), tmp_path / "plain.onnx")
    found = explain(plain, PHOTO, method="input-x-gradient", target=1)
    assert (found.method, found.layer, found.raw.shape) == ("input-x-gradient", "input", (8, 6))
    with_others = explain(plain, PHOTO, method="grad-cam", target=1)
    assert with_others.layer != "input"


def test_names_lead_to_classes(make_model: MakeModel) -> None:
    engine: Engine = make_model(pixels=True).engine
    for method in (Saliency, InputXGradient, IntegratedGradients, SmoothGrad, VarGrad, GradientSHAP):
        assert type(build(method.name, engine)) is method
