"""Quantized files on a processor whose eight-bit kernels saturate, on any processor.

Such a processor is put in place of this one: what it answers to the probe, and fused graphs that answer differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest
from onnxruntime import quantization

from onnxplain.errors import VerificationError
from onnxplain.exporters import instrument
from onnxplain.exporters.checks import same_outputs, saturation, tail_check, verify
from onnxplain.exporters.checks.saturation import may_saturate_here, saturating_products, with_exact_products
from onnxplain.exporters.graph.session import GraphSession
from tests.exporters import test_quantized_networks as networks
from tests.exporters.straight_through import integer_model

float_network = networks.float_network
make = onnx.helper.make_node
ORIGINAL_OFF, WRITTEN_OFF = 0.25, 0.5


@pytest.fixture
def saturating(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fused graphs are off here, each by a share of its own."""

    class Session(GraphSession):
        def __init__(self, proto: onnx.ModelProto, what: str, *, optimised: bool = True) -> None:
            off = {"original model": ORIGINAL_OFF, "explainable graph": WRITTEN_OFF}.get(what, 1.0)
            self._off = off if optimised and saturating_products(proto) else 0.0
            super().__init__(proto, what, optimised=optimised)

        def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
            found = super().run(feeds, outputs)
            return {name: (value * (1 + self._off)).astype(value.dtype) for name, value in found.items()}

    monkeypatch.setattr(saturation, "eight_bit_saturates", lambda: True)
    for module in (same_outputs, saturation, tail_check, verify):
        monkeypatch.setattr(module, "GraphSession", Session)


@pytest.fixture(scope="module")
def quantized(float_network: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[bool, Path]:
    """The same network in QDQ form; True: its weights have seven bits."""
    folder = tmp_path_factory.mktemp("quantized")
    for reduced in (False, True):
        quantization.quantize_static(
            float_network,
            folder / f"{reduced}.onnx",
            networks._Images(networks.IMAGES),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduced,
        )
    return {reduced: folder / f"{reduced}.onnx" for reduced in (False, True)}


def test_a_file_that_may_saturate_is_written_with_what_was_measured(
    quantized: Mapping[bool, Path], saturating: None, tmp_path: Path
) -> None:
    report = instrument(quantized[False], tmp_path / "out.onnx", layers=["50%", "auto"])
    found = report.saturation
    assert found is not None and len(found.products) == 4
    # Of this processor: what ONNX Runtime fuses may round the other way, or really saturate.
    np.testing.assert_allclose([found.original_error, found.written_error], [ORIGINAL_OFF, WRITTEN_OFF], atol=0.4)
    assert report.checks.output_error == 0
    assert (tmp_path / "out.onnx").exists()


def test_other_files_are_checked_as_on_other_processors(
    quantized: Mapping[bool, Path], saturating: None, tmp_path: Path
) -> None:
    report = instrument(quantized[True], tmp_path / "out.onnx")
    assert report.saturation is None


def test_a_processor_that_is_exact_is_checked_with_fused_kernels(
    quantized: Mapping[bool, Path], saturating: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(saturation, "eight_bit_saturates", lambda: False)
    assert not may_saturate_here(onnx.load(quantized[False]))
    with pytest.raises(VerificationError, match="outputs unchanged"):
        instrument(quantized[False], tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_a_changed_model_is_still_found(
    quantized: Mapping[bool, Path], saturating: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The check is another one, not none."""
    session = verify.GraphSession

    def changed(proto: onnx.ModelProto, what: str, *, optimised: bool = True) -> GraphSession:
        if what == "original model":
            (bias,) = [tensor for tensor in proto.graph.initializer if tensor.name == "b4_quantized"]
            array = onnx.numpy_helper.to_array(bias) + 10_000
            bias.CopyFrom(onnx.numpy_helper.from_array(array, bias.name))
        return session(proto, what, optimised=optimised)

    monkeypatch.setattr(verify, "GraphSession", changed)
    with pytest.raises(VerificationError, match="outputs unchanged"):
        instrument(quantized[False], tmp_path / "out.onnx")


LARGE = np.random.default_rng(2).choice([-128, -90, 90, 127], (8, 8)).astype(np.int8)
CONSTANTS = {"s": np.float32(1), "z": np.uint8(3), "v": np.int8(-5), "wide": np.float32(900), "w": LARGE}
QUANTIZE = make("QuantizeLinear", ["x", "s", "z"], ["q"])
DEQUANTIZE = make("DequantizeLinear", ["p", "wide", "z"], ["y"])
PRODUCTS = {
    "QLinearMatMul": [QUANTIZE, make("QLinearMatMul", ["q", "s", "z", "w", "s", "v", "wide", "z"], ["p"]), DEQUANTIZE],
    "MatMulInteger": [QUANTIZE, make("MatMulInteger", ["q", "w", "z", "v"], ["y"])],
    "MatMulInteger without zero points": [QUANTIZE, make("MatMulInteger", ["q", "w"], ["y"])],
    "two products of one weight": [
        QUANTIZE,
        make("MatMulInteger", ["q", "w", "z", "v"], ["one"]),
        make("MatMulInteger", ["q", "w", "z"], ["two"]),
        make("Add", ["one", "two"], ["y"]),
    ],
    "a weight from a Constant": [
        QUANTIZE,
        make("Constant", [], ["k"], value=onnx.numpy_helper.from_array(LARGE)),
        make("MatMulInteger", ["q", "k", "z", "v"], ["y"]),
    ],
}


@pytest.mark.parametrize("nodes", PRODUCTS.values(), ids=PRODUCTS)
def test_exact_products_are_those_of_the_reference(nodes: list[onnx.NodeProto]) -> None:
    x = np.random.default_rng(1).choice([0, 1, 200, 250], (6, 8)).astype(np.float32)
    model = integer_model(nodes, {"x": x}, CONSTANTS)
    assert saturating_products(model)
    exact = with_exact_products(model)
    assert not saturating_products(exact)
    # onnx's evaluator has these from opset 21 on, where they compute the same.
    model.opset_import[0].version = 21
    (expected,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    (found,) = GraphSession(exact, "exact", optimised=False).run({"x": x}).values()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("group", [1, 4])
def test_exact_convolutions_are_those_of_float64(group: int) -> None:
    """QLinearConv by uint8 · int8, ConvInteger by int8 · uint8."""
    rng = np.random.default_rng(4)
    x = rng.choice([0, 1, 200, 250], (2, 4, 6, 5)).astype(np.float32)
    weights = rng.choice([-128, -90, 90, 127], (8, 4 // group, 3, 3))
    signed = {**CONSTANTS, "w": weights.astype(np.int8), "v": np.int8(0), "z": np.uint8(0)}
    names = ["q", "s", "z", "w", "s", "v", "wide", "z"]
    linear = [QUANTIZE, make("QLinearConv", names, ["p"], group=group), DEQUANTIZE]
    unsigned = {**signed, "w": (weights + 128).astype(np.uint8), "v": np.uint8(128), "z": np.int8(0)}
    unsigned["half"] = np.float32(2)
    integer = [
        make("QuantizeLinear", ["x", "half", "z"], ["q"]),
        make("ConvInteger", ["q", "w", "z", "v"], ["y"], group=group),
    ]
    for nodes, constants, quantized_x, scale in (
        (linear, signed, x, 900),
        (integer, unsigned, np.round(x / 2).clip(-128, 127), 1),
    ):
        model = with_exact_products(integer_model(nodes, {"x": x}, constants))
        (found,) = GraphSession(model, "exact", optimised=False).run({"x": x}).values()
        expected = _convolution(quantized_x, weights, group)
        if scale > 1:
            expected = np.round(expected / scale).clip(0, 255) * scale
        np.testing.assert_array_equal(found, expected)


def _convolution(x: np.ndarray, weights: np.ndarray, group: int) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=(2, 3))
    per_group = [
        np.einsum("nchwij,ocij->nohw", one, other)
        for one, other in zip(np.split(windows, group, axis=1), np.split(weights, group), strict=True)
    ]
    return np.concatenate(per_group, axis=1)
