"""Every real ONNX file is instrumented at its automatic layer; a detector stays one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxplain import Engine
from onnxplain.contract import METADATA_KEY, ModelSpec
from onnxplain.errors import ModelError
from onnxplain.exporters import ExportReport, instrument
from tests.exporters.graphs import open_session


@dataclass(frozen=True)
class RealModel:
    """What a file is expected to become; `cam`: its head is pooling + linear; `linear`: and has no clamp between."""

    layer: str
    maps: tuple[int, int, int]
    classes: int
    cam: bool
    layout: str = "nchw"
    scores: str | None = None
    size_hw: tuple[int, int] | None = None
    linear: bool = False


MODELS: Mapping[str, RealModel] = {
    "squeezenet_fp16_winml": RealModel("fire9/concat_1", (512, 13, 13), 1000, True, scores="softmaxout_1"),
    "mobilenet_v1_0.25_128_float": RealModel(
        "MobilenetV1/MobilenetV1/Conv2d_13_pointwise/Relu6_prequant_relu_TFL_RELU6__31:0",
        (256, 4, 4),
        1001,
        True,
        layout="nhwc",
        scores="MobilenetV1/Predictions/Reshape_1",
    ),
    "mobilenet_v1_0.5_160_qdq": RealModel(
        "MobilenetV1/Logits/AvgPool_1a/AvgPool_prequant__362_DequantizeLinear__448:0",
        (512, 5, 5),
        1001,
        True,
        layout="nhwc",
        scores="MobilenetV1/Predictions/Reshape_1",
    ),
    "vww_96_float": RealModel("Relu__83:0", (256, 3, 3), 2, True, layout="nhwc", scores="Identity", linear=True),
    "cifar10_resnet20_ts_op11": RealModel("/layer3/layer3.2/Relu_1_output_0", (64, 8, 8), 10, True, linear=True),
    "cifar10_resnet20_dynamo_op18": RealModel("relu_18", (64, 8, 8), 10, True, linear=True),
    "cifar10_pytorch_winml": RealModel("43", (24, 10, 10), 10, False),
    "mnist_cntk": RealModel("Pooling160_Output_0", (16, 4, 4), 10, False),
    "paddle_ppocr_cls": RealModel(
        "p2o.MaxPool.1", (200, 1, 48), 2, True, scores="softmax_0.tmp_0", size_hw=(48, 192), linear=True
    ),
}
# Detectors and their layouts.
DETECTORS: Mapping[str, str] = {"FastestDet": "fastestdet", "ultraface_RFB-320": "ssd"}


@pytest.fixture(scope="module", params=MODELS, ids=MODELS)
def instrumented(
    request: pytest.FixtureRequest, assets: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RealModel, ExportReport, Path]:
    source = assets / "models" / f"{request.param}.onnx"
    expected = MODELS[request.param]
    destination = tmp_path_factory.mktemp("real") / "out.onnx"
    return expected, instrument(source, destination, input_size_hw=expected.size_hw), source


def test_it_becomes_what_is_expected(instrumented: tuple[RealModel, ExportReport, Path]) -> None:
    expected, report, _ = instrumented
    (layer,) = report.spec.layers
    assert (layer.name, (layer.channels, *layer.size_hw)) == (expected.layer, expected.maps)
    assert (report.spec.classes, report.spec.input.layout) == (expected.classes, expected.layout)
    assert report.spec.outputs.scores == expected.scores
    assert (report.spec.outputs.cam_weights == "cam_weights") == expected.cam == bool(report.cam)
    assert report.checks.layers[0].relative_error < 1e-4


def test_the_file_alone_is_enough(instrumented: tuple[RealModel, ExportReport, Path]) -> None:
    expected, report, source = instrumented
    original, model = open_session(source), open_session(report.path)
    spec = ModelSpec.from_json(model.get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert spec == report.spec
    written = onnx.load(report.path, load_external_data=False)
    # float16 files stay at 17, the newest that ONNX Runtime's CPU provider runs at full speed.
    lowest_opset = 17 if original.get_inputs()[0].type == "tensor(float16)" else 18
    assert written.ir_version >= 10 and written.opset_import[0].version >= lowest_opset
    originals = [(value.name, value.type) for value in original.get_outputs()]
    assert [(value.name, value.type) for value in model.get_outputs()][: len(originals)] == originals

    (image,) = model.get_inputs()
    height, width = spec.input.size_hw
    channels = spec.input.preprocessing.channel_count
    shape = (1, channels, height, width) if expected.layout == "nchw" else (1, height, width, channels)
    dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}[image.type]
    batch = np.random.default_rng(3).integers(0, 255, shape).astype(dtype)
    names = [spec.outputs.logits, *(f(spec.layers[0]) for f in (lambda s: s.features, lambda s: s.gradients))]
    open_gates = {image.name: batch, "target": np.array([1]), "explain": np.array([True])}
    logits, features, gradients = (np.asarray(a) for a in model.run(names, open_gates))
    assert (logits.shape, logits.dtype) == ((1, expected.classes), np.float32)
    for array in (features, gradients):
        assert (array.shape, array.dtype) == ((1, *expected.maps), np.float32)
        assert np.isfinite(array).all() and array.any()
    (closed,) = model.run([spec.layers[0].gradients], {image.name: batch})
    assert np.asarray(closed).shape == (0, *expected.maps)
    if expected.cam:
        (weights,) = model.run(["cam_weights"], open_gates)
        assert np.asarray(weights).shape == (expected.classes, expected.maps[0])


def test_a_head_is_called_linear_only_where_every_gradient_is_its_weight(
    instrumented: tuple[RealModel, ExportReport, Path],
) -> None:
    expected, report, _ = instrumented
    assert report.spec.outputs.linear_head == expected.linear
    if not expected.linear:
        return
    model, layer = open_session(report.path), report.spec.layers[0]
    (image,) = model.get_inputs()
    height, width = report.spec.input.size_hw
    shape = (1, 3, height, width) if expected.layout == "nchw" else (1, height, width, 3)
    batch = np.random.default_rng(5).uniform(-2, 2, shape).astype(np.float32)
    feeds = {image.name: batch, "target": np.array([1]), "explain": np.array([True])}
    gradient, weights = (np.asarray(a) for a in model.run([layer.gradients, "cam_weights"], feeds))
    everywhere = np.broadcast_to(weights[1][:, None, None], gradient.shape[1:])
    np.testing.assert_allclose(gradient[0] * np.prod(layer.size_hw), everywhere, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_stay_detectors(name: str, assets: Path, tmp_path: Path) -> None:
    instrument(assets / "models" / f"{name}.onnx", tmp_path / "out.onnx")
    detector = Engine(tmp_path / "out.onnx").detector
    assert detector is not None
    assert detector.spec.layout_name == DETECTORS[name]


def test_the_tables_cover_every_file(assets: Path) -> None:
    assert {path.stem for path in (assets / "models").glob("*.onnx")} == {*MODELS, *DETECTORS}


def test_an_open_size_has_to_be_stated(assets: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"--size HxW"):
        instrument(assets / "models" / "paddle_ppocr_cls.onnx", tmp_path / "out.onnx")


# Deep layers: behind them lie overlapping pools on maps full of equal zeros, saturating integers, float16 gates.
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("mnist_cntk", "0%"),
        ("cifar10_pytorch_winml", "0%"),
        ("vww_96_float", "0%"),
        ("mobilenet_v1_0.25_128_float", "25%"),
        ("mobilenet_v1_0.5_160_qdq", "25%"),
        ("squeezenet_fp16_winml", "25%"),
    ],
)
def test_deep_layers_pass_their_checks(name: str, share: str, assets: Path, tmp_path: Path) -> None:
    report = instrument(assets / "models" / f"{name}.onnx", tmp_path / "out.onnx", layers=[share])
    assert report.checks.layers[0].relative_error < 5e-2
