from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxplain.contract import Preprocessing
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import AugmentedGradCAM, GradCAM
from onnxplain.explainers.augmented.aggregation import aggregate
from onnxplain.explainers.augmented.downsampling import build_downsampling
from onnxplain.explainers.augmented.published_optimiser import descend
from onnxplain.explainers.augmented.random_copies import RandomCopies, warp_copies
from onnxplain.explainers.augmented.super_resolution import SuperResolution, solve
from onnxplain.explainers.regions import CAM_THRESHOLD
from tests.explainers.tiny_model import CLASSES, GRID_HW, INPUT_SIZE_HW, LAYER, MakeModel, TinyModel

COPIES = 12
MODES = ["super-resolution", "mean", "max", "paper"]
# One channel that follows brightness, and one that follows darkness; 0 is the mean colour.
BRIGHTNESS = {
    "kernel": np.stack([np.ones((3, 4, 4)), -np.ones((3, 4, 4))]),
    "weights": np.array([[1.0, 0.0], [-1.0, -1.0]]),
    "labels": ("bright", "never"),
    "preprocessing": Preprocessing(mean=(64,) * 3, std=(64,) * 3, resize="stretch"),
}


def photo(seed: int = 0, size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def lamp(x: int, y: int, size_hw: tuple[int, int] = INPUT_SIZE_HW) -> np.ndarray:
    """Black but for a white square of 6 × 6 pixels around (x, y)."""
    image = np.zeros((*size_hw, 3), np.uint8)
    image[y - 3 : y + 3, x - 3 : x + 3] = 255
    return image


def maps_of(model: TinyModel, image: np.ndarray, target: int, augmentation: RandomCopies) -> np.ndarray:
    """Grad-CAMs of the copies after ReLU, by the formula: the gradient of A^power under mean and linear head."""
    pixels = model.engine.preprocess(image)[0]
    fill = np.zeros(3, np.float32)
    features = model.features(warp_copies(pixels, augmentation.draw(INPUT_SIZE_HW), fill))
    heads = model.weights if model.box_weights is None else np.vstack([model.weights, model.box_weights])
    slopes = model.power * features ** (model.power - 1) * heads[target][:, None, None] / np.prod(GRID_HW)
    return np.maximum(np.einsum("nk,nkhw->nhw", slopes.mean(axis=(2, 3)), features), 0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("power", "target"), [(1, 2), (2, 0), (2, 2), (1, CLASSES + 1)])
def test_each_mode_is_its_parts_on_the_copies_grad_cams(make_model: MakeModel, mode, power: int, target: int) -> None:
    model = make_model(power=power, box=True)
    explanation = AugmentedGradCAM(model.engine, copies=COPIES, mode=mode, seed=3)(photo(), target)
    augmentation = RandomCopies(COPIES, seed=3)
    transforms = augmentation.draw(INPUT_SIZE_HW)
    operator = build_downsampling(transforms, INPUT_SIZE_HW, GRID_HW, 1 if mode == "paper" else 4)
    maps = np.where(operator.seen, maps_of(model, photo(), target, augmentation), 0)
    used = maps.max(axis=(1, 2)) > 0
    maps = (maps[used] / maps[used].max(axis=(1, 2), keepdims=True)).astype(np.float32)
    if mode in ("mean", "max"):
        expected = aggregate(maps, transforms[used], INPUT_SIZE_HW, mode)
    else:
        # 6 × 8 cells of 24 × 32 pixels, against the published 14 × 14 of 224 × 224.
        cells, side = 48 / 196, np.sqrt(24 * 32) / 224
        tv, ridge = (1, 1) if mode == "paper" else (cells / side, cells / side**2)
        problem = SuperResolution(
            operator.matrix[(operator.seen & used[:, None, None]).ravel()],
            maps[operator.seen[used]],
            INPUT_SIZE_HW,
            0.002 * tv * used.sum(),
            0.0001 * ridge * used.sum(),
        )
        expected = descend(problem) if mode == "paper" else solve(problem).heatmap
        assert explanation.report.objective == pytest.approx(problem.objective(expected), rel=1e-3)
    # Adam divides by small gradients: where they change sign, rounding is as large as a few steps.
    np.testing.assert_allclose(explanation.raw, expected, atol=3e-2 if mode == "paper" else 5e-3)
    assert (explanation.raw.dtype, explanation.raw.shape) == (np.float32, INPUT_SIZE_HW)
    assert explanation.raw.min() >= 0
    assert explanation.layer == LAYER
    assert (explanation.report.copies, explanation.report.copies_used) == (COPIES, used.sum())
    assert explanation.evaluations == 1 + COPIES


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("x", "y"), [(8, 6), (25, 7), (7, 18), (22, 16)])
def test_heat_from_copies_turned_and_moved_far_comes_back_to_the_same_place(
    make_model: MakeModel, mode, x: int, y: int
) -> None:
    explainer = AugmentedGradCAM(
        make_model(**BRIGHTNESS).engine, copies=60, rotation=3.1, translation=0.2, zoom=1.2, mirror=True, mode=mode
    )
    explanation = explainer(lamp(x, y), "bright")
    assert explanation.status == "ok"
    hot_y, hot_x = (axis.mean() + 0.5 for axis in np.nonzero(explanation.raw >= 0.8 * explanation.raw.max()))
    assert abs(hot_x - x) < 1.5
    assert abs(hot_y - y) < 1.5
    # A cell is 4 pixels wide; most of the heat lies within the lamp and one cell around it.
    near = np.zeros(INPUT_SIZE_HW, bool)
    near[max(y - 7, 0) : y + 7, max(x - 7, 0) : x + 7] = True
    assert explanation.raw[near].sum() > (0.5 if mode == "max" else 0.8) * explanation.raw.sum()


def test_super_resolution_tells_the_lamp_apart_better_than_one_grad_cam(make_model: MakeModel) -> None:
    # Black is the mean colour here, so that a cell's feature is its share of the lamp.
    engine = make_model(**BRIGHTNESS | {"preprocessing": Preprocessing(mean=(1,) * 3, resize="stretch")}).engine
    truth = lamp(17, 11)[:, :, 0] > 0
    single = GradCAM(engine)(lamp(17, 11), "bright").heatmap >= CAM_THRESHOLD
    augmented = AugmentedGradCAM(engine, copies=60)(lamp(17, 11), "bright").heatmap >= CAM_THRESHOLD
    iou_single, iou_augmented = ((truth & region).sum() / (truth | region).sum() for region in (single, augmented))
    assert iou_augmented > iou_single + 0.1


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("targets", [[0, 1, 2, 3], [2, None, 2], [None], [1, "box:0", 3, "box:2"], []])
def test_several_targets_together_are_each_alone(make_model: MakeModel, power: int, targets: list) -> None:
    explainer = AugmentedGradCAM(make_model(power=power, box=True).engine, copies=COPIES)
    together = explainer.for_targets(photo(), targets)
    assert len(together) == len(targets)
    for explanation, target in zip(together, targets, strict=True):
        alone = explainer(photo(), target)
        assert (explanation.target, explanation.label, explanation.score) == (alone.target, alone.label, alone.score)
        np.testing.assert_allclose(explanation.raw, alone.raw, atol=1e-4)
        assert explanation.report.copies_used == alone.report.copies_used


@pytest.mark.parametrize(("targets", "passes"), [([0, 1, 2], 1), ([0, 0, "box:1"], 2), (["box:0", "box:1"], 2)])
def test_classes_behind_a_linear_head_share_their_passes(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, targets: list, passes: int
) -> None:
    engine = make_model(box=True).engine
    explainer = AugmentedGradCAM(engine, copies=COPIES, batch_size=5)
    sizes = []
    run = engine.run
    monkeypatch.setattr(
        engine, "run", lambda batch, *rest, **given: (sizes.append(len(batch)), run(batch, *rest, **given))[1]
    )
    explainer.for_targets(photo(), targets)
    # The image itself, then the copies in batches.
    assert sizes == [1, *[5, 5, 2] * passes]


def test_features_behind_a_linear_head_say_what_the_gradients_say(make_model: MakeModel) -> None:
    shared, gated = (make_model(head_is_linear=linear).engine for linear in (True, False))
    for target in range(CLASSES):
        one, other = (AugmentedGradCAM(engine, copies=COPIES)(photo(), target) for engine in (shared, gated))
        np.testing.assert_allclose(one.raw, other.raw, atol=1e-3)


@pytest.mark.parametrize("batch_size", [1, 5, 100])
@pytest.mark.parametrize("power", [1, 2])
def test_the_size_of_a_batch_changes_nothing(make_model: MakeModel, power: int, batch_size: int) -> None:
    engine = make_model(power=power).engine
    default = AugmentedGradCAM(engine, copies=COPIES)(photo())
    other = AugmentedGradCAM(engine, copies=COPIES, batch_size=batch_size)(photo())
    np.testing.assert_allclose(other.raw, default.raw, atol=1e-4)


def test_all_copies_explain_the_class_predicted_for_the_image(make_model: MakeModel) -> None:
    engine = make_model(power=2).engine
    for seed in range(4):
        predicted = engine.predict(photo(seed))[0]
        explanation = AugmentedGradCAM(engine, copies=COPIES, mode="mean")(photo(seed))
        asked = AugmentedGradCAM(engine, copies=COPIES, mode="mean")(photo(seed), predicted.class_id)
        assert explanation.target == predicted.class_id
        np.testing.assert_array_equal(explanation.raw, asked.raw)


@pytest.mark.parametrize("mode", MODES)
def test_copies_without_positive_evidence_are_left_out(make_model: MakeModel, mode) -> None:
    # A lamp in the corner, which many copies lose; elsewhere the mean colour, which weighs nothing.
    engine = make_model(**BRIGHTNESS).engine
    image = np.full((*INPUT_SIZE_HW, 3), 64, np.uint8)
    image[:4, :4] = 255
    explanation = AugmentedGradCAM(engine, copies=40, translation=0.3, mode=mode)(image, "bright")
    assert 5 < explanation.report.copies_used < 35
    assert explanation.status == "ok"
    assert np.unravel_index(explanation.raw.argmax(), INPUT_SIZE_HW) <= (5, 5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("options", "target", "status"),
    [
        (BRIGHTNESS, "never", "no_positive_evidence"),
        (BRIGHTNESS | {"weights": np.full((2, 2), np.nan)}, 0, "non_finite"),
    ],
)
def test_status(make_model: MakeModel, mode, options: dict, target, status: str) -> None:
    explanation = AugmentedGradCAM(make_model(**options).engine, copies=5, mode=mode)(lamp(9, 9), target)
    assert explanation.status == status
    assert not explanation.heatmap.any()
    assert len(explanation.boxes()) == 0


@pytest.mark.parametrize("mean", [0, 100])
def test_outside_the_image_a_copy_shows_the_mean_colour(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, mean: int
) -> None:
    preprocessing = Preprocessing(mean=(mean,) * 3, std=(50,) * 3, resize="stretch")
    engine = make_model(preprocessing=preprocessing).engine
    shown = []
    run = engine.run
    monkeypatch.setattr(engine, "run", lambda batch, *rest: (shown.append(batch), run(batch, *rest))[1])
    image = photo() // 2 + np.array([0, 40, 90], np.uint8)
    AugmentedGradCAM(engine, copies=30, translation=0.5)(image)
    pixels = engine.preprocess(image)[0]
    expected = np.zeros(3) if mean else pixels.mean(axis=(1, 2))
    copies = np.concatenate(shown[1:])
    transforms = RandomCopies(30, translation=0.5).draw(INPUT_SIZE_HW)
    corner = transforms @ [0.5, 0.5, 1]
    outside = (corner < -1).any(axis=1) | (corner > np.array(INPUT_SIZE_HW[::-1]) + 1).any(axis=1)
    assert outside.sum() > 5
    np.testing.assert_allclose(copies[outside][:, :, 0, 0], np.tile(expected, (outside.sum(), 1)), atol=1e-5)
    np.testing.assert_array_equal(copies[0], pixels)


def test_weights_keep_their_balance_when_input_and_grid_grow(make_model: MakeModel) -> None:
    engine = make_model(**BRIGHTNESS).engine
    # The same cells of half as many pixels: a second file would say the same as the first at half the scale.
    full = AugmentedGradCAM(engine, copies=30)(lamp(17, 11), "bright")
    transforms = RandomCopies(30).draw((48, 64))
    operator = build_downsampling(transforms, (48, 64), GRID_HW)
    small = build_downsampling(RandomCopies(30).draw(INPUT_SIZE_HW), INPUT_SIZE_HW, GRID_HW)
    maps = (small.matrix @ full.raw.ravel()).astype(np.float32)
    cells, side = 48 / 196, np.sqrt(48 * 64) / 224
    weights = (0.002 * 30 * cells / side, 0.0001 * 30 * cells / side**2)
    double = solve(SuperResolution(operator.matrix, maps, (48, 64), *weights)).heatmap
    cells, side = 48 / 196, np.sqrt(24 * 32) / 224
    weights = (0.002 * 30 * cells / side, 0.0001 * 30 * cells / side**2)
    single = solve(SuperResolution(small.matrix, maps, INPUT_SIZE_HW, *weights)).heatmap
    halved = double.reshape(24, 2, 32, 2).mean(axis=(1, 3))
    assert np.abs(halved - single).mean() < 0.03 * single.max()


def test_progress_counts_passes_over_the_copies(make_model: MakeModel) -> None:
    seen = []
    explainer = AugmentedGradCAM(
        make_model(power=2).engine, copies=10, batch_size=6, progress=lambda done, total: seen.append((done, total))
    )
    explainer([photo(), photo(1)])
    assert seen == [(6, 20), (10, 20), (16, 20), (20, 20)]
    seen.clear()
    explainer.for_targets(photo(), [0, 1, 0])
    assert seen == [(6, 20), (10, 20), (16, 20), (20, 20)]


@pytest.mark.parametrize("mode", MODES)
def test_the_report_fits_a_line_of_json(make_model: MakeModel, mode) -> None:
    report = AugmentedGradCAM(make_model().engine, copies=COPIES, mode=mode)(photo(), 2).report
    tree = report.as_json()
    assert tree["mode"] == mode
    assert tree["copies"] == COPIES
    assert (tree["objective"] is None) == (mode in ("mean", "max"))
    assert (tree["gap"] is None) == (mode != "super-resolution")
    assert f"{tree['copies_used']} of {COPIES} copies" in report.summary()
    if mode == "super-resolution":
        assert 0 <= tree["gap"] <= 0.01
        assert f"after {tree['iterations']} iterations" in report.summary()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"copies": 0}, "^copies: found 0"),
        ({"rotation": -1}, "^rotation: found -1"),
        ({"translation": 1.0}, "^translation: found 1.0"),
        ({"copies": 300, "translation": 0.99}, "^augmentation: copy .* shows the image in none"),
        ({"zoom": 0}, "^zoom: found 0"),
        ({"mode": "median"}, "^mode: found 'median', expected one of super-resolution, mean, max, paper"),
        ({"points": 0}, "^points: found 0"),
        ({"total_variation": -0.1}, "^total_variation: found -0.1"),
        ({"ridge": 0}, "^ridge: found 0"),
        ({"gap": 0}, "^gap: found 0"),
        ({"batch_size": 0}, "^batch_size: found 0"),
        ({"layer": "nowhere"}, "^layer: found 'nowhere'"),
    ],
)
def test_bad_parameters_are_refused_before_any_image_is_read(make_model: MakeModel, options: dict, message) -> None:
    with pytest.raises(OnnxplainError, match=message):
        AugmentedGradCAM(make_model().engine, **options)


def test_a_layer_of_one_cell_is_refused_with_the_methods_that_work(make_model: MakeModel) -> None:
    engine = make_model().engine
    (layer,) = engine.spec.layers
    engine.spec = replace(engine.spec, layers=(layer, replace(layer, name="pooled", size_hw=(1, 1))), tail=None)
    with pytest.raises(UnsupportedError, match=f"^augmented-grad-cam: .*1 × 1.*{LAYER}.*rise"):
        AugmentedGradCAM(engine, "pooled")


def test_a_file_without_layers_is_refused_with_the_methods_that_work(make_model: MakeModel) -> None:
    with pytest.raises(UnsupportedError, match=r"^augmented-grad-cam: needs .*: rise, occlusion"):
        AugmentedGradCAM(make_model(instrumented=False).engine)


@pytest.mark.parametrize("target", ["cow", 4, -2, "box:0", 1.5])
def test_a_target_that_does_not_exist_is_an_error(make_model: MakeModel, target) -> None:
    with pytest.raises(OnnxplainError, match=r"^target: found"):
        AugmentedGradCAM(make_model().engine, copies=2)(photo(), target)
