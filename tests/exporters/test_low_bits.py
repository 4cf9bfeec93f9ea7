"""Integers of 2 and 4 bits, blocks of them, and float8: what is known of constants, gradients, whole files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
import torch
from onnxruntime.quantization import QuantFormat
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT
from onnxplain.errors import UnsupportedError
from onnxplain.exporters import instrument
from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.graph.values import constant_of
from tests.exporters.graphs import open_session, relative_error, run_gradient, session
from tests.exporters.onnx_models import plain_model

make = onnx.helper.make_node
info = onnx.helper.make_tensor_value_info
FLOAT = onnx.TensorProto.FLOAT
RNG = np.random.default_rng(31)
LOW_BITS = {
    "int4": (ml_dtypes.int4, -8, 7),
    "uint4": (ml_dtypes.uint4, 0, 15),
    "int8": (np.int8, -128, 127),
}


def low_bit_model(
    nodes: list[onnx.NodeProto], x: np.ndarray, constants: Mapping[str, np.ndarray], opset: int = 21
) -> onnx.ModelProto:
    """x [N, …] → … → y."""
    graph = onnx.helper.make_graph(
        nodes,
        "low_bits",
        [info("x", FLOAT, ["N", *x.shape[1:]])],
        [onnx.ValueInfoProto(name="y")],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)


def _blocks(array: np.ndarray, axis: int, block: int, size: int) -> np.ndarray:
    """One entry per block, spread over its block, by index."""
    return array.astype(np.float64).take(np.arange(size) // block, axis)


@pytest.mark.parametrize("name", LOW_BITS)
@pytest.mark.parametrize("zeros", [False, True], ids=["symmetric", "zero points"])
@pytest.mark.parametrize(("axis", "size", "block"), [(0, 8, 4), (1, 6, 2), (-2, 6, 4)])
def test_a_weight_in_blocks(name: str, zeros: bool, axis: int, size: int, block: int) -> None:
    dtype, low, high = LOW_BITS[name]
    shape = [size, 6] if axis != 1 else [8, size]
    count = list(shape)
    count[axis] = -(-size // block)
    weight = RNG.integers(low, high, shape, endpoint=True)
    zero = RNG.integers(low, high, count, endpoint=True) if zeros else np.zeros(count)
    scale = RNG.uniform(0.1, 0.5, count).astype(np.float32)
    constants = {"w": weight.astype(dtype), "s": scale, "z": zero.astype(dtype)}
    names = ["w", "s", "z"] if zeros else ["w", "s"]
    nodes = [
        make("DequantizeLinear", names, ["floats"], axis=axis, block_size=block),
        make("MatMul", ["x", "floats"], ["y"]),
    ]
    x = RNG.normal(size=(3, shape[0])).astype(np.float32)
    model = low_bit_model(nodes, x, {key: constants[key] for key in names})
    floats = (weight - _blocks(zero, axis, block, size)) * _blocks(scale, axis, block, size)
    (y,) = session(model).run(None, {"x": x})
    # ONNX Runtime may itself compute with activations of 8 bits here.
    assert relative_error(y, x @ floats) < 2e-2
    cotangent = RNG.normal(size=y.shape)
    found = run_gradient(prepare(model), "x", {"y": cotangent}, {"x": x})
    assert relative_error(found, cotangent @ floats.T) < 1e-6
    graph = prepare(model).graph
    known = constant_of(next(iter(graph)).outputs[0])
    assert known is not None
    assert relative_error(known, floats) < 1e-6


@pytest.mark.parametrize("name", LOW_BITS)
@pytest.mark.parametrize("block", [0, 2, 3])
def test_activations_of_few_bits(name: str, block: int) -> None:
    """Straight-through within the range of the type; one scale, or one per block along the last axis."""
    dtype, low, high = LOW_BITS[name]
    shape = (2, 3, 5)
    count = () if not block else (2, 3, -(-5 // block))
    scale = RNG.uniform(0.2, 0.4, count).astype(np.float32)
    zero = np.full(count, (low + high + 1) // 2).astype(dtype)
    x = RNG.normal(0, 1.2 * (high - low) / 10, shape).astype(np.float32)
    attributes: dict[str, Any] = {"axis": 2, "block_size": block} if block else {}
    nodes = [
        make("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
        make("DequantizeLinear", ["q", "t", "z"], ["y"], **attributes),
    ]
    proto = low_bit_model(nodes, x, {"s": scale, "t": (scale * 2).astype(np.float32), "z": zero})
    if block:
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    along = _blocks(scale, 2, block, 5) if block else scale
    unrounded = x / along + (low + high + 1) // 2
    inside = (np.round(unrounded) > low) & (np.round(unrounded) < high)
    assert 0 < inside.sum() < inside.size
    cotangent = RNG.normal(size=shape)
    found = run_gradient(prepare(proto), "x", {"y": cotangent}, {"x": x})
    assert relative_error(found, np.where(inside, cotangent * 2, 0.0)) < 1e-6


def test_activations_of_float8_are_refused_by_name() -> None:
    zero = np.zeros((), ml_dtypes.float8_e4m3fn)
    nodes = [
        make("QuantizeLinear", ["x", "s", "z"], ["q"], name="the_node"),
        make("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    model = prepare(low_bit_model(nodes, np.ones((2, 3), np.float32), {"s": np.float32(0.5), "z": zero}))
    with pytest.raises(
        UnsupportedError, match=r"QuantizeLinear 'the_node': its result has type FLOAT8E4M3FN, expected"
    ):
        run_gradient(model, "x", {"y": np.ones((2, 3))}, {"x": np.ones((2, 3), np.float32)})


@pytest.mark.parametrize("dtype", ["int2", "uint2", "int4", "uint4", "float8_e4m3fn", "float8_e5m2", "bfloat16"])
@pytest.mark.parametrize("operator", ["DequantizeLinear", "Cast", "Transpose", "Reshape"])
def test_constants_of_every_small_type_are_known(dtype: str, operator: str) -> None:
    if dtype == "bfloat16" and operator == "DequantizeLinear":
        pytest.skip("bfloat16 is no quantized type")
    stored = np.array([[0, 1, 1], [1, 0, 1]]).astype(getattr(ml_dtypes, dtype))
    rows: dict[str, tuple[list[str], dict[str, Any], np.ndarray]] = {
        "DequantizeLinear": (["s"], {}, stored.astype(np.float32) / 2),
        "Cast": ([], {"to": FLOAT}, stored.astype(np.float32)),
        "Transpose": ([], {}, stored.T),
        "Reshape": (["shape"], {}, stored.reshape(3, 2)),
    }
    more, attributes, expected = rows[operator]
    constants = {"w": stored, "s": np.float32(0.5), "shape": np.array([3, 2])}
    nodes = [make(operator, ["w", *more], ["known"], **attributes), make("Neg", ["x"], ["y"])]
    graph = prepare(low_bit_model(nodes, np.ones((1, 2)), constants, opset=25)).graph
    found = constant_of(next(iter(graph)).outputs[0])
    assert found is not None
    np.testing.assert_array_equal(found.astype(np.float32), expected.astype(np.float32))


def _network() -> onnx.ModelProto:
    """The plain network with a product by weights in front of its logits that is large enough for blocks of 16."""
    model = plain_model(opset=21)
    rng = np.random.default_rng(8)
    for name, shape in (("wide", (6, 32)), ("narrow", (32, 5))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    del model.graph.node[-1]
    model.graph.node.extend(
        [
            make("MatMul", ["means", "wide"], ["hidden"]),
            make("Tanh", ["hidden"], ["curved"]),
            make("MatMul", ["curved", "narrow"], ["logits"]),
        ]
    )
    return model


@pytest.mark.parametrize("quant_format", [QuantFormat.QOperator, QuantFormat.QDQ], ids=["MatMulNBits", "QDQ"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zero points"])
@pytest.mark.parametrize("accuracy", [None, 4], ids=["float", "accuracy 4"])
def test_a_file_with_weights_of_four_bits(
    quant_format: QuantFormat, symmetric: bool, accuracy: int | None, tmp_path: Path
) -> None:
    """The gradient is that of torch with the weights that the bits stand for."""
    quantizer = MatMulNBitsQuantizer(
        _network(), block_size=16, is_symmetric=symmetric, accuracy_level=accuracy, quant_format=quant_format
    )
    quantizer.process()
    path = tmp_path / "four_bits.onnx"
    onnx.save(quantizer.model.model, path)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert ("MatMulNBits" in kinds) == (quant_format is QuantFormat.QOperator)
    spec = instrument(path, tmp_path / "explainable.onnx", layers=["late"]).spec
    image = np.random.default_rng(3).normal(size=(2, 3, 8, 6)).astype(np.float32)
    feeds = {"image": image, TARGET_INPUT: np.array([1, 4]), EXPLAIN_INPUT: np.array([True])}
    features, gradients = open_session(tmp_path / "explainable.onnx").run(
        [spec.layers[0].features, spec.layers[0].gradients], feeds
    )
    late = torch.tensor(features, dtype=torch.float64, requires_grad=True)
    wide, narrow = (torch.tensor(weight) for weight in _stored_weights(onnx.load(path)))
    logits = torch.tanh(late.mean((2, 3)) @ wide) @ narrow
    (expected,) = torch.autograd.grad(logits[[0, 1], [1, 4]].sum(), late)
    # At level 4, which ONNX Runtime also takes for QDQ, the kernel rounds its activations: the tanh moves a little.
    rounds = accuracy == 4 or quant_format is QuantFormat.QDQ
    assert relative_error(gradients, expected.numpy()) < (5e-2 if rounds else 1e-5)


def _stored_weights(model: onnx.ModelProto) -> list[np.ndarray]:
    """float64 [K, N] of each product, read by its definition, one number after the other."""
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = []
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            weights.append(_read_blocks(*(stored[name] for name in node.input)))
        if node.op_type == "MatMulNBits":
            inner = next(attribute.i for attribute in node.attribute if attribute.name == "K")
            weights.append(_read_packed(inner, *(stored[name] for name in node.input[1:])))
    return weights


def _read_blocks(q: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None) -> np.ndarray:
    found = np.zeros(q.shape)
    for row, column in np.ndindex(*q.shape):
        centre = 0 if zero is None else int(zero[row // 16, column])
        found[row, column] = (int(q[row, column]) - centre) * float(scale[row // 16, column])
    return found


def _read_packed(inner: int, packed: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None) -> np.ndarray:
    columns, blocks = packed.shape[:2]
    found = np.zeros((inner, columns))
    for row, column in np.ndindex(inner, columns):
        byte = int(packed[column, row // 16, row % 16 // 2])
        block, centre = row // 16, 8
        if zero is not None:
            both = int(zero.reshape(columns, -1)[column, block // 2])
            centre = both >> 4 if block % 2 else both & 15
        number = byte >> 4 if row % 2 else byte & 15
        found[row, column] = (number - centre) * float(scale.reshape(columns, blocks)[column, block])
    return found


def _table_network(use: str) -> tuple[onnx.ModelProto, np.ndarray]:
    """Maps [N, 16, h, w], then a table of 4 bits as factors of the positions, or as weights of a product."""
    rng = np.random.default_rng(12)
    packed, scale = rng.integers(0, 256, (16, 8)).astype(np.uint8), rng.uniform(0.1, 0.2, (16, 1)).astype(np.float32)
    stored = {
        **{"kernel": rng.normal(size=(16, 3, 3, 3)).astype(np.float32), "packed": packed, "scale": scale},
        **{"rows": np.arange(16), "shape": np.array([1, 16, 4, 4])},
        "narrow": rng.normal(size=(16, 5)).astype(np.float32),
    }
    attributes = {"bits": 4, "block_size": 16, "quantize_axis": 1, "gather_axis": 0, "domain": "com.microsoft"}
    pool = [make("GlobalAveragePool", ["used"], ["pooled"]), make("Flatten", ["pooled"], ["means"])]
    positions = [
        make("Reshape", ["table", "shape"], ["positions"]),
        make("Mul", ["maps", "positions"], ["moved"]),
        make("Sigmoid", ["moved"], ["used"]),
        *pool,
        make("MatMul", ["means", "narrow"], ["logits"]),
    ]
    weights = [
        make("Sigmoid", ["maps"], ["used"]),
        *pool,
        make("MatMul", ["means", "table"], ["hidden"]),
        make("Tanh", ["hidden"], ["curved"]),
        make("MatMul", ["curved", "narrow"], ["logits"]),
    ]
    nodes = [
        make("Conv", ["image", "kernel"], ["convolved"], pads=[1] * 4, strides=[2, 2]),
        make("Tanh", ["convolved"], ["maps"]),
        make("GatherBlockQuantized", ["packed", "rows", "scale"], ["table"], **attributes),
        *{"positions": positions, "weights": weights}[use],
    ]
    used = {name for node in nodes for name in node.input}
    graph = onnx.helper.make_graph(
        nodes,
        "table",
        [info("image", FLOAT, ["N", 3, 8, 8])],
        [info("logits", FLOAT, ["N", 5])],
        [onnx.numpy_helper.from_array(array, name) for name, array in stored.items() if name in used],
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("com.microsoft", 1)]
    # The lower half of a byte comes first; 8 is zero.
    table = (np.stack([packed & 15, packed >> 4], axis=-1).reshape(16, 16) - 8.0) * scale
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), table


@pytest.mark.parametrize("use", ["positions", "weights"])
def test_a_file_with_a_table_of_four_bits(use: str, tmp_path: Path) -> None:
    model, numbers = _table_network(use)
    onnx.save(model, tmp_path / "table.onnx")
    spec = instrument(tmp_path / "table.onnx", tmp_path / "explainable.onnx", layers=["maps"]).spec
    image = np.random.default_rng(3).normal(size=(2, 3, 8, 8)).astype(np.float32)
    feeds = {"image": image, TARGET_INPUT: np.array([1, 4]), EXPLAIN_INPUT: np.array([True])}
    features, gradients = open_session(tmp_path / "explainable.onnx").run(
        [spec.layers[0].features, spec.layers[0].gradients], feeds
    )
    maps, table = torch.tensor(features, dtype=torch.float64, requires_grad=True), torch.tensor(numbers)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    narrow = torch.tensor(stored["narrow"].astype(np.float64))
    if use == "positions":
        logits = torch.sigmoid(maps * table.reshape(1, 16, 4, 4)).mean((2, 3)) @ narrow
    else:
        logits = torch.tanh(torch.sigmoid(maps).mean((2, 3)) @ table) @ narrow
    (expected,) = torch.autograd.grad(logits[[0, 1], [1, 4]].sum(), maps)
    assert relative_error(gradients, expected.numpy()) < 1e-5
