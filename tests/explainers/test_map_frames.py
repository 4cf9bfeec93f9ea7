"""Heatmaps of maps that do not lie evenly over the input: a bright dot is found by every method that reads a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxplain.contract import MapFrame, Preprocessing
from onnxplain.explainers import (
    CAM,
    AugmentedGradCAM,
    EigenCAM,
    GradCAM,
    HiResCAM,
    LayerCAM,
    ReciproCAM,
    ScoreCAM,
)
from onnxplain.explainers.cam.layer_fusion import fuse_maps
from onnxplain.explainers.cam.score_cam import make_masks
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.heatmap import minus_min_over_range, relu_over_max
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine, make_frame

SIDE, START, STOP = 64, 16, 48
METHODS: dict[str, Callable[[Engine], Explainer]] = {
    "cam": CAM,
    "grad-cam": GradCAM,
    "hires-cam": HiResCAM,
    "layer-cam": LayerCAM,
    "eigen-cam": EigenCAM,
    "score-cam": ScoreCAM,
    "recipro-cam": ReciproCAM,
    "all layers": lambda engine: GradCAM(engine, layer="all"),
    **{
        mode: lambda engine, mode=mode: AugmentedGradCAM(engine, copies=24, mode=mode, rotation=0.2)
        for mode in ("super-resolution", "mean", "max")
    },
}


@pytest.fixture(scope="module")
def cropping(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The model cuts the middle out of its input, then convolves it at half the resolution."""
    folder = tmp_path_factory.mktemp("crop")
    first = np.zeros((4, 3, 3, 3), np.float32)
    first[:] = np.outer([1, 2, 1], [1, 2, 1]) / 48
    second = np.zeros((4, 4, 3, 3), np.float32)
    second[range(4), range(4), 1, 1] = 1
    constants = {
        "starts": np.array([START, START]),
        "ends": np.array([STOP, STOP]),
        "axes": np.array([2, 3]),
        "first": first,
        "second": second,
        "weights": np.array([[4, 3, 4, 3], [-1, 0.2, -1, 0.3]], np.float32),
    }
    nodes = [
        helper.make_node("Slice", ["image", "starts", "ends", "axes"], ["cut"]),
        helper.make_node("Conv", ["cut", "first"], ["conv1"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["conv1"], ["early"]),
        helper.make_node("Conv", ["early", "second"], ["conv2"], pads=[1] * 4),
        helper.make_node("Relu", ["conv2"], ["late"]),
        helper.make_node("GlobalAveragePool", ["late"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("Gemm", ["means", "weights"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "crop",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "plain.onnx")
    preprocessing = Preprocessing(scale=1 / 255, mean=(0.0,) * 3, std=(1.0,) * 3, resize="stretch")
    path = folder / "crop.onnx"
    report = instrument(folder / "plain.onnx", path, layers=["early", "late"], preprocessing=preprocessing)
    frame = report.spec.layers[-1].frame
    assert frame == MapFrame((2.0, 2.0), (15.5, 15.5), ((16.0, 48.0), (16.0, 48.0)))
    return Engine(path, threads=1)


@pytest.mark.parametrize("name", METHODS)
def test_the_maximum_is_within_a_cell_of_the_dot(name: str, cropping: Engine) -> None:
    method = METHODS[name](cropping)
    rng = np.random.default_rng(7)
    for y, x in rng.integers(START + 2, STOP - 3, (50 if name in ("cam", "grad-cam") else 6, 2)):
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        image[y : y + 2, x : x + 2] = 255
        explanation = method(image, target=0)
        assert explanation.status == "ok"
        heat = explanation.heatmap
        peak = np.argwhere(heat >= heat.max() * (1 - 1e-5)).mean(axis=0) + 0.5
        assert np.abs(peak - [y + 1, x + 1]).max() <= 2, (peak, y, x)
        outside = heat.copy()
        outside[START:STOP, START:STOP] = 0
        # Maps on a grid of their own over the whole input run out within a cell.
        if name not in ("all layers", "super-resolution", "mean", "max"):
            assert not outside.any()


def test_an_even_frame_takes_the_path_of_files_that_state_none(cropping: Engine) -> None:
    """So heatmaps of maps that are spread evenly, up to rounding, are the same to the last bit."""
    spec, layer = cropping.spec, cropping.spec.layers[-1]
    even = MapFrame.over((SIDE, SIDE), layer.size_hw)
    rounded = replace(even, offset_hw=(1e-5, -1e-5))
    for frame in (None, even, rounded):
        assert spec.frame_of(replace(layer, frame=frame)) is None
    assert spec.frame_of(layer) == layer.frame


def test_an_even_frame_places_a_map_where_none_does() -> None:
    rng = np.random.default_rng(1)
    raw, frame = rng.normal(size=(7, 5)).astype(np.float32), make_frame((231, 190), (224, 224), "crop")
    for normalise in (relu_over_max, minus_min_over_range):
        known, _ = normalise(raw, frame)
        stated, _ = normalise(raw, frame, MapFrame.over((224, 224), (7, 5)))
        np.testing.assert_allclose(stated, known, atol=1e-6)


def test_cells_are_interpolated_between_their_centres_and_end_where_nothing_is_seen() -> None:
    """A ramp of four cells at 10, 14, 18, 22 of an input of 32, of which 9 … 24 is seen."""
    frame = MapFrame((8.0, 4.0), (0.0, 8.0), ((0.0, 32.0), (9.0, 24.0)))
    raw = np.tile(np.array([1, 2, 3, 4], np.float32), (4, 1))
    image_frame = make_frame((32, 32), (32, 32), "stretch")
    row = image_frame.map_to_image(raw, frame)[16]
    centres = np.arange(32) + 0.5
    expected = np.interp(centres, [10, 14, 18, 22], [1, 2, 3, 4])
    expected[(centres < 9) | (centres > 24)] = 0
    np.testing.assert_allclose(row, expected, atol=1e-6)


def test_layers_are_fused_where_they_lie() -> None:
    """A map of the left half and one of the whole: the fused map covers the input."""
    left = MapFrame((8.0, 4.0), (0.0, 0.0), ((0.0, 32.0), (0.0, 16.0)))
    maps = [np.ones((1, 4, 4), np.float32), np.zeros((1, 4, 4), np.float32)]
    fused = fuse_maps(maps, [left, None], (32, 32))[0]
    assert fused.shape == (4, 8)
    np.testing.assert_array_equal(fused, np.repeat([[1, 1, 1, 1, 0, 0, 0, 0]], 4, axis=0))


def test_masks_hide_what_the_maps_do_not_see() -> None:
    left = MapFrame((8.0, 4.0), (0.0, 0.0), ((0.0, 32.0), (0.0, 16.0)))
    features = np.random.default_rng(0).uniform(1, 2, (3, 4, 4)).astype(np.float32)
    masks = make_masks(features, (32, 32), left)
    assert not masks[:, :, 16:].any()
    assert masks[:, :, :16].max() == 1
