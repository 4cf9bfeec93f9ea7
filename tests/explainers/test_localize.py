from __future__ import annotations

import numpy as np
import pytest

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import CAM, GradCAM, localize
from tests.explainers.tiny_model import CHANNELS, CLASSES, MakeModel

BRIGHT = np.zeros((2, 3, 4, 4))
BRIGHT[0] = 1


def spot(size_hw: tuple[int, int] = (48, 64), box: tuple[int, int, int, int] = (16, 16, 48, 32)) -> np.ndarray:
    image = np.full((*size_hw, 3), 60, np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 250
    return image


def test_a_box_head_answers_by_itself(make_model: MakeModel) -> None:
    engine = make_model(box=True).engine
    images = [spot(), spot((30, 90))]
    for found, expected in zip(localize(engine, images), engine.predict(images), strict=True):
        assert found.box_source == "head"
        assert found.box_xyxy == expected.box_xyxy
        np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize(
    ("model", "method", "source", "explainer"),
    [
        ({}, None, "cam", CAM),
        ({}, "cam", "cam", CAM),
        ({}, "grad-cam", "grad-cam", GradCAM),
        ({"head_is_linear": False}, None, "grad-cam", GradCAM),
        ({"box": True}, "cam", "cam", CAM),
        ({"box": True, "power": 2}, "grad-cam", "grad-cam", GradCAM),
    ],
)
def test_the_weak_box_is_the_largest_region_of_the_predicted_class(
    make_model: MakeModel, model: dict, method, source: str, explainer
) -> None:
    engine = make_model(**model).engine
    images = [np.random.default_rng(k).integers(0, 256, (50 + k, 70, 3), dtype=np.uint8) for k in range(3)]
    predictions = localize(engine, images, method)
    for image, prediction, plain in zip(images, predictions, engine.predict(images), strict=True):
        assert (prediction.class_id, prediction.label) == (plain.class_id, plain.label)
        assert prediction.box_source == source
        regions = explainer(engine)(image).boxes()
        assert prediction.box_xyxy == tuple(regions.xyxy[0])
        assert regions.area[0] == regions.area.max()


def test_the_weak_box_lies_around_what_the_class_is_seen_in(make_model: MakeModel) -> None:
    engine = make_model(kernel=BRIGHT, weights=np.array([[1.0, 0], [-1, 0]]), labels=("bright", "dark")).engine
    (prediction,) = localize(engine, spot())
    assert prediction.label == "bright"
    # The cells of the grid are 8 pixels wide; bilinear upsampling reaches at most one cell further.
    np.testing.assert_allclose(prediction.box_xyxy, (16, 16, 48, 32), atol=8)


def test_no_positive_evidence_gives_no_box(make_model: MakeModel) -> None:
    weights = -np.abs(np.random.default_rng(0).normal(size=(CLASSES, CHANNELS)))
    for method in (None, "cam", "grad-cam"):
        (prediction,) = localize(make_model(weights=weights).engine, spot(), method)
        assert (prediction.box_xyxy, prediction.box_source) == (None, None)


def test_a_file_with_neither_box_nor_layers_gives_no_box(make_model: MakeModel) -> None:
    (prediction,) = localize(make_model(instrumented=False).engine, spot())
    assert (prediction.box_xyxy, prediction.box_source) == (None, None)


def test_a_method_is_refused_by_name(make_model: MakeModel) -> None:
    with pytest.raises(OnnxplainError, match=r"^method: found 'rise', expected one of cam, grad-cam or None"):
        localize(make_model().engine, spot(), "rise")
    with pytest.raises(UnsupportedError, match=r"^cam: needs .*: grad-cam, .*rise"):
        localize(make_model(power=2).engine, spot(), "cam")
