"""Networks that ONNX Runtime has quantized, in all its forms, against their float originals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from onnxruntime import quantization

from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT, ModelSpec
from onnxplain.exporters import instrument
from tests.exporters.graphs import open_session

make = onnx.helper.make_node
info = onnx.helper.make_tensor_value_info
FLOAT = onnx.TensorProto.FLOAT


class _Images(quantization.CalibrationDataReader):
    """The images on which ranges are measured."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"image": image[None]}


IMAGES = np.random.default_rng(8).normal(size=(8, 3, 24, 24)).astype(np.float32)


@pytest.fixture(scope="module")
def float_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three convolutions, the last one residual; global average pooling, a linear layer to 10 classes."""
    rng = np.random.default_rng(5)
    constants = {}
    for index, shape in enumerate(((8, 3, 3, 3), (16, 8, 3, 3), (16, 16, 3, 3), (10, 16)), start=1):
        constants[f"w{index}"] = (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        constants[f"b{index}"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)
    nodes = [
        make("Conv", ["image", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        make("Relu", ["c1"], ["early"]),
        make("Conv", ["early", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        make("Relu", ["c2"], ["middle"]),
        make("Conv", ["middle", "w3", "b3"], ["c3"], pads=[1, 1, 1, 1]),
        make("Relu", ["c3"], ["r3"]),
        make("Add", ["r3", "middle"], ["late"]),
        make("GlobalAveragePool", ["late"], ["pooled"]),
        make("Flatten", ["pooled"], ["means"]),
        make("Gemm", ["means", "w4", "b4"], ["logits"], transB=1),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [info("image", FLOAT, [1, 3, 24, 24])],
        [info("logits", FLOAT, [1, 10])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path_factory.mktemp("network") / "float.onnx"
    onnx.save(model, path)
    return path


# Weights in int8 have seven bits (`reduce_range`): with eight, products saturate on some processors, where the fused
# kernels of the original and those of the explainable file then answer differently (`processors.py`).
def _static(form: quantization.QuantFormat, **options: Any) -> Callable[[Path, Path], None]:
    return lambda source, target: quantization.quantize_static(
        source, target, _Images(IMAGES), quant_format=form, reduce_range=True, **options
    )


def _dynamic(**options: Any) -> Callable[[Path, Path], None]:
    return lambda source, target: quantization.quantize_dynamic(source, target, **options)


QDQ, INTEGER = quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator
UNSIGNED, SIGNED = quantization.QuantType.QUInt8, quantization.QuantType.QInt8
# What quantize_static calls the maps behind the ReLUs that it makes the saturation of a convolution's result.
INSIDE = {"early": "c1_quantized", "middle": "c2_quantized", "late": "late_quantized"}
# The cosine between the gradients of the quantized network and of its float original, at least, layer by layer: the
# ReLUs of the two do not close at the same places. Found: 0.979, 0.936, 1.000 for QDQ and for QOperator throughout;
# 0.854, 1.000 for QOperator, where a map is taken before its QuantizeLinear, which passes nothing at its zeros; 0.987,
# 0.997, 0.999 for dynamic.
QUANTIZED: Mapping[str, tuple[Callable[[Path, Path], None], Mapping[str, float]]] = {
    "QDQ": (_static(QDQ), {"early": 0.97, "middle": 0.9, "late": 0.999}),
    "QDQ, a scale per channel": (_static(QDQ, per_channel=True), {"early": 0.97, "middle": 0.9, "late": 0.999}),
    "QDQ, unsigned": (
        _static(QDQ, activation_type=UNSIGNED, weight_type=SIGNED),
        {"early": 0.97, "middle": 0.9, "late": 0.999},
    ),
    "QOperator": (_static(INTEGER, op_types_to_quantize=["Conv", "MatMul"]), {"middle": 0.8, "late": 0.999}),
    "QOperator, a scale per channel": (
        _static(INTEGER, op_types_to_quantize=["Conv", "MatMul"], per_channel=True),
        {"middle": 0.8, "late": 0.999},
    ),
    "QOperator throughout": (_static(INTEGER), {"early": 0.97, "middle": 0.9, "late": 0.999}),
    "QOperator throughout, unsigned, a scale per channel": (
        _static(INTEGER, activation_type=UNSIGNED, weight_type=SIGNED, per_channel=True),
        {"early": 0.97, "middle": 0.9, "late": 0.999},
    ),
    "dynamic": (_dynamic(weight_type=UNSIGNED), {"early": 0.97, "middle": 0.99, "late": 0.999}),
    "dynamic, the linear layer alone": (
        _dynamic(op_types_to_quantize=["MatMul", "Gemm"], reduce_range=True),
        {"early": 0.99, "middle": 0.999, "late": 0.999},
    ),
}


@pytest.mark.parametrize(("quantize", "cosines"), QUANTIZED.values(), ids=QUANTIZED.keys())
def test_a_quantized_network_has_the_gradients_of_its_float_original(
    quantize: Callable[[Path, Path], None], cosines: Mapping[str, float], float_network: Path, tmp_path: Path
) -> None:
    quantize(float_network, tmp_path / "quantized.onnx")
    layers = list(cosines)
    nodes = onnx.load(tmp_path / "quantized.onnx").graph.node
    throughout = any(node.op_type == "QGemm" for node in nodes)
    names = [INSIDE[layer] if throughout else layer for layer in layers]
    references = _gradients(float_network, tmp_path / "float.onnx", layers)
    found = _gradients(tmp_path / "quantized.onnx", tmp_path / "explainable.onnx", names)
    for (layer, at_least), name in zip(cosines.items(), names, strict=True):
        for one, other in zip(found[name], references[layer], strict=True):
            assert (one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other) > at_least, layer


def test_the_gradients_are_of_the_logits_before_a_quantized_softmax(float_network: Path, tmp_path: Path) -> None:
    model = onnx.load(float_network)
    model.graph.node.append(make("Softmax", ["logits"], ["scores"]))
    model.graph.output[0].name = "scores"
    onnx.save(model, tmp_path / "float.onnx")
    _static(INTEGER)(tmp_path / "float.onnx", tmp_path / "quantized.onnx")
    assert any(node.op_type == "QLinearSoftmax" for node in onnx.load(tmp_path / "quantized.onnx").graph.node)
    (references,) = _gradients(float_network, tmp_path / "reference.onnx", ["late"]).values()
    (found,) = _gradients(tmp_path / "quantized.onnx", tmp_path / "explainable.onnx", [INSIDE["late"]]).values()
    for one, other in zip(found, references, strict=True):
        # Half a step of a weight is 1/128 of the largest, and most weights are smaller. Found: 0.012, 0.020.
        assert np.linalg.norm(one - other) < 0.03 * np.linalg.norm(other)


@pytest.mark.parametrize("options", [{}, {"per_channel": True}], ids=["one scale", "a scale per channel"])
def test_class_activation_maps_of_integers(options: dict[str, Any], float_network: Path, tmp_path: Path) -> None:
    _static(INTEGER, **options)(float_network, tmp_path / "quantized.onnx")
    spec = instrument(tmp_path / "quantized.onnx", tmp_path / "explainable.onnx").spec
    assert spec.layers[0].name == spec.outputs.cam_layer == "late_quantized/dequantized"
    feeds = {"image": IMAGES[:1], EXPLAIN_INPUT: np.array([True])}
    (found,) = open_session(tmp_path / "explainable.onnx").run(["cam_weights"], feeds)
    (weights,) = (tensor for tensor in onnx.load(float_network).graph.initializer if tensor.name == "w4")
    reference = onnx.numpy_helper.to_array(weights)
    assert np.abs(found - reference).max() < np.abs(reference).max() / 127  # half a step of seven bits is 1/128


def _gradients(source: Path, target: Path, layers: list[str]) -> dict[str, list[np.ndarray]]:
    """By layer, the gradients of two classes on each of the first four images."""
    spec: ModelSpec = instrument(source, target, layers=layers).spec
    session = open_session(target)
    names = [layer.gradients for layer in spec.layers]
    gradients: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    for image in IMAGES[:4]:
        for index in (1, 3):
            feeds = {"image": image[None], TARGET_INPUT: np.array([index]), EXPLAIN_INPUT: np.array([True])}
            for layer, gradient in zip(layers, session.run(names, feeds), strict=True):
                gradients[layer].append(gradient)
    return gradients
