"""What `inspect` and `instrument` say of a quantized file where 8-bit kernels saturate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxplain.exporters.checks import saturation
from onnxplain.runtime.sessions import saturation as runtime_saturation

TRAIT = "this processor's 8-bit kernels saturate (AVX2 without VNNI)"


def write_quantized(path: Path, largest: int) -> Path:
    """QDQ: Conv, Relu, global average pooling, linear head of 5 classes, its int8 weights as large as `largest`."""
    rng = np.random.default_rng(3)
    node, info = helper.make_node, helper.make_tensor_value_info
    constants = {
        "kernel": rng.integers(-largest, largest + 1, (6, 3, 3, 3)).astype(np.int8),
        "weights": rng.integers(-60, 60, (5, 6)).astype(np.int8),
        "small": np.float32(0.01),
        "wide": np.float32(0.1),
        "middle": np.int8(0),
    }
    nodes = [
        node("QuantizeLinear", ["image", "small", "middle"], ["q"]),
        node("DequantizeLinear", ["q", "small", "middle"], ["pixels"]),
        node("DequantizeLinear", ["kernel", "small", "middle"], ["filters"]),
        node("Conv", ["pixels", "filters"], ["convolved"], pads=[1, 1, 1, 1]),
        node("Relu", ["convolved"], ["relu"]),
        node("QuantizeLinear", ["relu", "wide", "middle"], ["q2"]),
        node("DequantizeLinear", ["q2", "wide", "middle"], ["map"]),
        node("GlobalAveragePool", ["map"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("DequantizeLinear", ["weights", "small", "middle"], ["head"]),
        node("Gemm", ["flat", "head"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "quantized",
        [info("image", TensorProto.FLOAT, ["N", 3, 12, 16])],
        [info("logits", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.fixture(params=[False, True], ids=["exact", "saturating"])
def saturates(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """What the probe says in this test."""
    for module in (saturation, runtime_saturation):
        monkeypatch.setattr(module, "eight_bit_saturates", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize("largest", [64, 127])
def test_inspect_and_instrument(largest, saturates, run, tmp_path):
    plain = write_quantized(tmp_path / "plain.onnx", largest)
    expected = saturates and largest > 64
    written = tmp_path / "out.onnx"
    report = json.loads(run("instrument", plain, "-o", written, "--json").stdout)["saturation"]
    assert (report is not None) == expected
    if expected:
        assert report["products"] == ["convolved"]
        assert report["original_error"] >= 0 and report["written_error"] >= 0
    for path in (plain, written):
        assert json.loads(run("inspect", path, "--json").stdout)["saturating_products"] == ["convolved"] * expected
        text = run("inspect", path).stdout
        assert (f"{TRAIT}: 1 product of this file can be wrong here" in text) == ("reduce_range" in text) == expected
    text = run("instrument", plain, "-o", written).stdout
    assert (TRAIT in text) == ("reduce_range=True" in text) == ("On random images" in text) == expected


def test_a_float_file_has_no_such_products(saturates, run, models):
    for name in ("plain", "instrumented", "explainable"):
        assert json.loads(run("inspect", models / f"{name}.onnx", "--json").stdout)["saturating_products"] == []
