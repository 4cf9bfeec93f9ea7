from __future__ import annotations

import numpy as np
import pytest
import torch

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import CAM, GradCAM
from tests.explainers.tiny_model import CHANNELS, CLASSES, GRID_HW, LABELS, LAYER, MakeModel

CELLS = GRID_HW[0] * GRID_HW[1]


def photos(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (40 + 7 * k, 61 - 5 * k, 3), dtype=np.uint8) for k in range(count)]


@pytest.mark.parametrize("target", range(CLASSES))
def test_cam_is_the_weighted_sum_of_features_and_its_mean_is_the_logit(make_model: MakeModel, target: int) -> None:
    model = make_model()
    image = photos(1)[0]
    explanation = CAM(model.engine)(image, target)
    features = model.features(model.engine.preprocess(image))[0]
    expected = sum(model.weights[target, k] * features[k] for k in range(CHANNELS))
    np.testing.assert_allclose(explanation.raw, expected, rtol=1e-4, atol=1e-4)
    logits = model.engine.activations(image).logits[0]
    assert explanation.raw.mean() == pytest.approx(logits[target], rel=1e-4)


@pytest.mark.parametrize("target", [*range(CLASSES), None])
def test_behind_a_linear_head_cam_is_grad_cam_times_the_cells(make_model: MakeModel, target: int | None) -> None:
    engine = make_model().engine
    for image in photos(3):
        cam, grad_cam = CAM(engine)(image, target), GradCAM(engine)(image, target)
        np.testing.assert_allclose(cam.raw, grad_cam.raw * CELLS, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(cam.heatmap, grad_cam.heatmap, atol=1e-5)
        assert (cam.target, cam.target_name, cam.score) == (
            grad_cam.target,
            grad_cam.target_name,
            grad_cam.score,
        )


def test_grad_cam_is_torchs_gradients_in_the_papers_formula(make_model: MakeModel) -> None:
    model = make_model(power=2, box=True)
    images, targets = photos(8), list(range(CLASSES + 4))
    explanations = GradCAM(model.engine)(images, targets)
    pixels = torch.from_numpy(model.engine.preprocess(images)).double()
    features = torch.nn.functional.conv2d(pixels, torch.from_numpy(model.kernel).double(), stride=4).relu()
    features.requires_grad_()
    heads = torch.from_numpy(np.vstack([model.weights, model.box_weights])).double()
    answers = (features**2).mean(dim=(2, 3)) @ heads.T
    answers[range(8), targets].sum().backward()
    alpha = features.grad.mean(dim=(2, 3), keepdim=True)
    expected = (alpha * features).sum(dim=1).detach().numpy()
    for explanation, reference in zip(explanations, expected, strict=True):
        np.testing.assert_allclose(explanation.raw, reference, rtol=1e-4, atol=1e-4 * np.abs(reference).max())


def test_without_a_target_the_predicted_class_is_explained(make_model: MakeModel) -> None:
    engine = make_model().engine
    for image, prediction in zip(photos(4), engine.predict(photos(4)), strict=True):
        explanation = GradCAM(engine)(image)
        assert explanation.target == prediction.class_id
        assert explanation.target_name == explanation.label == prediction.label == LABELS[prediction.class_id]
        assert explanation.score == pytest.approx(prediction.score)
        assert explanation.prediction.class_id == prediction.class_id
        np.testing.assert_allclose(explanation.prediction.scores, prediction.scores, rtol=1e-5)


def test_a_box_coordinate_keeps_the_predicted_class_as_its_label(make_model: MakeModel) -> None:
    engine = make_model(box=True).engine
    image = photos(1)[0]
    explanation, prediction = GradCAM(engine)(image, "box:2"), engine.predict(image)[0]
    assert (explanation.target, explanation.target_name) == (CLASSES + 2, "box:2")
    assert (explanation.label, explanation.score) == (prediction.label, pytest.approx(prediction.score))


def test_many_images_pass_the_engine_together_and_each_gets_its_own_target(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_model().engine
    images, targets = photos(5), [0, "cat", None, "3", 1]
    single = [GradCAM(engine)(image, target) for image, target in zip(images, targets, strict=True)]
    calls = []
    run = engine.run
    monkeypatch.setattr(engine, "run", lambda batch, *args: (calls.append(len(batch)), run(batch, *args))[1])
    together = GradCAM(engine)(images, targets)
    assert calls == [5]
    for one, many in zip(single, together, strict=True):
        assert one.target == many.target
        np.testing.assert_allclose(one.raw, many.raw, rtol=1e-4, atol=1e-6)
    assert [explanation.target for explanation in GradCAM(engine)(images, "cat")] == [2] * 5
    assert isinstance(GradCAM(engine)(images[:1]), list)


@pytest.mark.parametrize("targets", [[], [1], [1, 2, 3]])
def test_another_number_of_targets_than_images_is_an_error(make_model: MakeModel, targets: list[int]) -> None:
    with pytest.raises(OnnxplainError, match=f"target: found {len(targets)} targets for 2 images, expected one"):
        GradCAM(make_model().engine)(photos(2), targets)


@pytest.mark.parametrize("explainer", [CAM, GradCAM])
@pytest.mark.parametrize("target", ["cow", 4, -2, "box:0", 1.5])
def test_a_target_that_does_not_exist_is_an_error(make_model: MakeModel, explainer, target) -> None:
    with pytest.raises(OnnxplainError, match=r"^target: found .*"):
        explainer(make_model().engine)(photos(1)[0], target)


def test_cam_refuses_box_coordinates(make_model: MakeModel) -> None:
    with pytest.raises(UnsupportedError, match=r"^cam: found target box:1, expected a class.*grad-cam"):
        CAM(make_model(box=True).engine)(photos(1)[0], "box:1")


@pytest.mark.parametrize(
    ("explainer", "options", "message"),
    [
        (
            CAM,
            {"power": 2},
            r"^cam: needs global average pooling.*cam_weights.* that work with this file: grad-cam, .*rise, .*aise$",
        ),
        (CAM, {"instrumented": False}, r"^cam: needs .* that work with this file: rise, occlusion, .*aise$"),
        (GradCAM, {"instrumented": False}, r"^grad-cam: needs an instrumented layer.*instrument.*: rise, .*aise$"),
    ],
)
def test_a_file_without_what_the_method_needs_is_refused(
    make_model: MakeModel, explainer, options: dict, message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        explainer(make_model(**options).engine)


@pytest.mark.parametrize("layer", [None, LAYER, "relu"])
def test_layers_are_found_by_name_or_part(make_model: MakeModel, layer: str | None) -> None:
    engine = make_model().engine
    for explainer in (CAM, GradCAM):
        assert explainer(engine, layer)(photos(1)[0]).layer == LAYER


def test_an_unknown_layer_is_an_error_before_any_image_is_read(make_model: MakeModel) -> None:
    with pytest.raises(OnnxplainError, match=f"layer4.*{LAYER}"):
        GradCAM(make_model().engine, "layer4")


ONES = np.ones((2, 3, 4, 4))


@pytest.mark.parametrize("explainer", [CAM, GradCAM])
@pytest.mark.parametrize(
    ("kernel", "weights", "image", "status"),
    [
        (ONES, np.ones((2, 2)), "ramp", "ok"),
        (ONES, -np.ones((2, 2)), "ramp", "no_positive_evidence"),
        (-ONES, np.ones((2, 2)), "white", "no_positive_evidence"),
        (ONES, np.ones((2, 2)), "white", "constant"),
        (ONES, np.full((2, 2), np.nan), "ramp", "non_finite"),
        (ONES * 1e38, np.full((2, 2), 1e38), "ramp", "non_finite"),
    ],
)
def test_status(make_model: MakeModel, explainer, kernel, weights, image: str, status: str) -> None:
    pixels = np.full((30, 50, 3), 255, np.uint8)
    if image == "ramp":
        pixels[:] = np.linspace(140, 255, 50, dtype=np.uint8)[None, :, None]
    engine = make_model(kernel=kernel, weights=weights, labels=("a", "b")).engine
    explanation = explainer(engine)(pixels, 1)
    assert explanation.status == status
    assert np.isfinite(explanation.heatmap).all()
    assert explanation.heatmap.max() == (1 if status == "ok" else 0)
    assert len(explanation.boxes()) == (1 if status == "ok" else 0)
