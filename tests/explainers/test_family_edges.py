"""The CAM family where there is little to see, too much asked, or several things asked at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from onnxplain.contract import LayerSpec
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import (
    METHODS,
    ActivationMapExplainer,
    FinerCAM,
    GradCAM,
    GradCAMPlusPlus,
    LayerCAM,
    SmoothGradCAMPlusPlus,
    build,
)
from onnxplain.explainers.cam.activation_map import require_gradients
from onnxplain.explainers.cam.eigen_cam import project_on_first_component
from onnxplain.explainers.cam.layer_fusion import fuse_maps
from onnxplain.explainers.heatmap import relu_over_max
from onnxplain.runtime import Engine
from onnxplain.runtime.geometry import make_frame
from tests.explainers.tiny_model import CHANNELS, LAYER, MakeModel

# Every method whose map is one formula of a layer; the others have tests of their own.
ONE_MAP_EACH = tuple(
    name
    for name, method in METHODS.own.items()
    if issubclass(method.explainer, ActivationMapExplainer) and name != "augmented-grad-cam"
)
ONES = np.ones((2, 3, 4, 4))
NAN = float("nan")


def photo(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (33, 47, 3), dtype=np.uint8)


def count_runs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch size of every run from now on."""
    sizes: list[int] = []
    run = engine.run
    monkeypatch.setattr(
        engine, "run", lambda batch, *rest, **given: (sizes.append(len(batch)), run(batch, *rest, **given))[1]
    )
    return sizes


@pytest.mark.parametrize("method", ONE_MAP_EACH)
@pytest.mark.parametrize(
    ("kernel", "weights", "status"),
    [
        (ONES, np.array([[1, 1], [-1, -1]]), "ok"),
        (-ONES, np.array([[1, 1], [-1, -1]]), "no_positive_evidence"),
        (ONES, np.full((2, 2), NAN), "non_finite"),
    ],
)
def test_status(make_model: MakeModel, method: str, kernel, weights, status: str) -> None:
    pixels = np.zeros((30, 50, 3), np.uint8)
    pixels[:] = np.linspace(140, 255, 50, dtype=np.uint8)[None, :, None]
    engine = make_model(kernel=kernel, weights=weights, labels=("a", "b")).engine
    # On a ramp no cell is two deviations above the mean.
    explanation = build(method, engine, **({"deviations": 1.0} if method == "fem" else {}))(pixels, 0)
    # What has no target does not read the weights.
    assert explanation.status == ("ok" if status == "non_finite" and not explanation.uses_target else status)
    assert explanation.heatmap.max() == (1 if explanation.status == "ok" else 0)


@pytest.mark.parametrize("method", ["cam", "grad-cam", "eigen-cam", "kpca-cam", "fem"])
def test_without_gradients_all_targets_come_from_one_forward_pass(
    make_model: MakeModel, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_model().engine
    explainer = build(method, engine)
    alone = [explainer(photo(), target) for target in (0, 1, 2, 3, None)]
    sizes = count_runs(engine, monkeypatch)
    together = explainer.for_targets(photo(), [0, "bee", 2, "3", None])
    assert sizes == [1]
    for one, other in zip(alone, together, strict=True):
        assert (one.target, one.target_name, one.score) == (other.target, other.target_name, pytest.approx(other.score))
        np.testing.assert_allclose(one.raw, other.raw, rtol=1e-5, atol=1e-6)
    assert explainer.for_targets(photo(), []) == []


def test_grad_cam_takes_the_gradients_unless_the_head_is_linear(make_model: MakeModel) -> None:
    linear = make_model(box=True).engine
    gated = make_model(box=True).engine
    assert gated.spec.cam is not None
    gated.spec = replace(gated.spec, cam=replace(gated.spec.cam, linear=False))
    for target in (0, 1, None, "box:2"):
        one, other = (build("grad-cam", engine)(photo(), target) for engine in (linear, gated))
        np.testing.assert_allclose(one.raw, other.raw, rtol=1e-5, atol=1e-7)
    mixed = build("grad-cam", linear).for_targets(photo(), [0, "box:1"])
    np.testing.assert_allclose(mixed[1].raw, build("grad-cam", gated)(photo(), "box:1").raw, rtol=1e-6)


@pytest.mark.parametrize("method", ["eigen-cam", "kpca-cam", "fem"])
def test_features_alone_give_the_same_map_for_every_target(make_model: MakeModel, method: str) -> None:
    maps = build(method, make_model(box=True).engine).for_targets(photo(), [0, 3, "box:1"])
    np.testing.assert_array_equal(maps[0].raw, maps[1].raw)
    np.testing.assert_array_equal(maps[0].raw, maps[2].raw)
    assert maps[2].target_name == "box:1"


@pytest.mark.parametrize("flip", [1, -1])
def test_a_first_component_is_oriented_by_the_sum_of_its_maps(flip: int) -> None:
    weights, shape = np.array([3.0, 1, -2]), np.random.default_rng(0).normal(size=(4, 5))
    maps = flip * weights[None, :, None, None] * shape
    expected = flip * np.linalg.norm(weights) * shape
    np.testing.assert_allclose(project_on_first_component(maps.astype(np.float32))[0], expected, rtol=1e-5)


def test_small_gradients_do_not_underflow(make_model: MakeModel) -> None:
    """Behind a linear head Grad-CAM++ is ``Σ_k ReLU(w_k) / (2 + w_k mean(A_k)) A_k``, whatever the scale of w."""
    weights = np.random.default_rng(5).normal(size=(2, CHANNELS)) * 1e-15
    model = make_model(weights=weights, labels=("a", "b"))
    explanation = GradCAMPlusPlus(model.engine)(photo(), 0)
    features = model.features(model.engine.preprocess(photo()))[0]
    per_map = np.maximum(weights[0], 0) / (2 + weights[0] * features.mean(axis=(1, 2)))
    np.testing.assert_allclose(explanation.raw, np.tensordot(per_map, features, 1), rtol=1e-4)
    assert explanation.status == "ok"


def test_noisy_copies_pass_in_batches_and_report_progress(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, seen = make_model(power=2).engine, []
    sizes = count_runs(engine, monkeypatch)
    explainer = SmoothGradCAMPlusPlus(engine, samples=19, progress=lambda done, total: seen.append((done, total)))
    explanations = explainer([photo(1), photo(2)], [1, None])
    assert sizes == [2, 8, 8, 3, 8, 8, 3]
    assert seen == [(done, 38) for done in (8, 16, 19, 27, 35, 38)]
    alone = SmoothGradCAMPlusPlus(engine, samples=19)(photo(2))
    np.testing.assert_allclose(explanations[1].raw, alone.raw, rtol=1e-5)


def test_a_known_shift_is_half_pixel_exact() -> None:
    """Cell (i, j) covers pixels [8i, 8i + 8): a ramp stays that ramp, and a blob moves by whole cells."""
    frame = make_frame((48, 64), (48, 64), "stretch")
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32), (6, 8))
    centres = (np.arange(64) + 0.5) / 8 - 0.5
    heatmap, _ = relu_over_max(ramp, frame)
    np.testing.assert_allclose(heatmap, np.broadcast_to(np.clip(centres, 0, 7) / 7, (48, 64)), atol=1e-6)
    blob = np.zeros((6, 8), np.float32)
    blob[1, 2] = 1
    heatmap, _ = relu_over_max(blob, frame)
    moved, _ = relu_over_max(np.roll(blob, (2, 3), (0, 1)), frame)
    np.testing.assert_allclose(moved, np.roll(heatmap, (16, 24), (0, 1)), atol=1e-6)
    rows, columns = np.average(np.mgrid[:48, :64] + 0.5, axis=(1, 2), weights=np.stack([heatmap] * 2).mean(0))
    assert (rows, columns) == (pytest.approx(1.5 * 8), pytest.approx(2.5 * 8))


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ([[[[2, -4]]], [[[0, 5]]]], [[1, 1]]),
        ([[[[-1, -4]]], [[[1, 4]]]], [[0.25, 1]]),
        ([[[[-1, -4]]], [[[0, -4]]]], [[0, 0]]),
        ([[[[3]]], [[[1, 4]]]], [[1, 1]]),
        ([[[[0, 8]]], [[[0, 0, 0, 2]]]], [[0, 0.25, 0.75, 1]]),
        ([[[[NAN, 1]]], [[[1, 4]]]], [[NAN, NAN]]),
    ],
)
def test_fusion_by_hand(maps: list[Any], expected: list[Any]) -> None:
    np.testing.assert_allclose(fuse_maps([np.array(entry, np.float32) for entry in maps])[0], expected)


def test_a_layer_of_one_cell_is_refused_with_what_works(make_model: MakeModel) -> None:
    engine = make_model(power=2).engine
    (layer,) = engine.spec.layers
    pooled = LayerSpec("pooled", layer.features, layer.gradients, layer.channels, (1, 1))
    engine.spec = replace(engine.spec, layers=(layer, pooled), tail=None)
    with pytest.raises(
        UnsupportedError,
        match=rf"layer pooled with a single cell \(1 × 1\).*layers that work: {LAYER}; .*need no layer: rise",
    ):
        GradCAM(engine)
    with pytest.raises(UnsupportedError, match=r"layer pooled with a single cell \(1 × 1\)"):
        LayerCAM(engine, "all")
    assert GradCAM(engine, LAYER)(photo()).status == "ok"
    engine.spec = replace(engine.spec, layers=(pooled,), tail=None)
    with pytest.raises(UnsupportedError, match=r"^grad-cam: needs an instrumented layer.*one cell.*: rise, occlusion"):
        GradCAM(engine)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("layer-cam", {"layer": []}, f'^layer: found an empty list, expected "all" or some of .*{LAYER}'),
        ("layer-cam", {"layer": [LAYER, "deeper"]}, "^layer: found 'deeper'"),
        ("smooth-grad-cam++", {"samples": 0}, "^samples: found 0, expected at least 1"),
        ("smooth-grad-cam++", {"seed": -1}, "^seed: found -1, expected at least 0"),
        ("smooth-grad-cam++", {"noise": 0}, "^noise: found 0, expected a positive"),
        ("smooth-grad-cam++", {"noise": NAN}, "^noise: found nan"),
        ("finer-cam", {"references": 0}, "^references: found 0, expected at least 1"),
        ("finer-cam", {"strength": -0.1}, "^strength: found -0.1, expected a number from 0"),
        ("finer-cam", {"strength": NAN}, "^strength: found nan"),
        ("hires-cam", {"samples": 3}, "^hires-cam: found option samples, expected one of layer, test_time$"),
    ],
)
def test_bad_options_are_refused(make_model: MakeModel, method: str, options: dict, message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        build(method, make_model().engine, **options)


def test_cam_has_one_layer_and_finer_cam_classes_alone(make_model: MakeModel) -> None:
    with pytest.raises(UnsupportedError, match=r"^finer-cam: found target box:1, expected a class.*grad-cam"):
        FinerCAM(make_model(box=True).engine)(photo(), "box:1")
    with pytest.raises(
        UnsupportedError, match=r"^finer-cam: needs .*a head of at least two.*none of its heads has two"
    ):
        FinerCAM(make_model(weights=np.ones((1, CHANNELS)), labels=("a",)).engine)
    engine = make_model().engine
    (layer,) = engine.spec.layers
    engine.spec = replace(engine.spec, layers=(replace(layer, name="shallow"), layer))
    with pytest.raises(UnsupportedError, match=f"^cam: found layer shallow, {LAYER}, expected {LAYER}"):
        build("cam", engine, layer="all")


def test_activations_without_gradients_or_of_another_shape_are_refused(make_model: MakeModel) -> None:
    activations = make_model().engine.activations(photo(), gradients=False)
    with pytest.raises(OnnxplainError, match=f"layer {LAYER}: found no gradients"):
        require_gradients(activations)
    with pytest.raises(OnnxplainError, match=rf"layer {LAYER} gradients: found shape .*, expected"):
        replace(activations, gradients=activations.features[:, :, 1:])
