"""Scale and zero point of quantized outputs, read without a package that reads ONNX."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxplain.runtime.protobuf.output_scales import read_output_scales


def serialised(scale: np.ndarray, zero: np.ndarray | None, *, as_nodes: bool = False, raw: bool = True) -> memoryview:
    """x → QuantizeLinear → Transpose → out, and a float output beside it."""
    node = helper.make_node
    arrays = {"scale": scale} | ({} if zero is None else {"zero": zero})
    tensors = [
        numpy_helper.from_array(array, name)
        if raw
        else helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.ravel().tolist())
        for name, array in arrays.items()
    ]
    nodes = [node("Constant", [], [tensor.name], value=tensor) for tensor in tensors] if as_nodes else []
    nodes += [
        node("QuantizeLinear", ["x", *arrays], ["q"]),
        node("Transpose", ["q"], ["out"]),
        node("Identity", ["x"], ["plain"]),
    ]
    value = helper.make_tensor_value_info
    outputs = [value("out", TensorProto.UINT8, [2, 2]), value("plain", TensorProto.FLOAT, [2, 2])]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [2, 2])], outputs, [] if as_nodes else tensors)
    return memoryview(helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("as_nodes", [True, False])
@pytest.mark.parametrize(
    ("scale", "zero", "expected"),
    [
        (np.float32(0.5), np.uint8(7), (0.5, 7)),
        (np.float32(0.25), np.int8(-128), (0.25, -128)),
        (np.float16(0.125), np.uint8(0), (0.125, 0)),
        (np.float32([2.0]), np.uint8([3]), (2.0, 3)),
        (np.float32(0.5), None, (0.5, 0)),
    ],
    ids=str,
)
def test_scale_and_zero_point(scale, zero, expected, as_nodes: bool, raw: bool) -> None:
    arrays = [None if array is None else np.asarray(array) for array in (scale, zero)]
    assert read_output_scales(serialised(*arrays, as_nodes=as_nodes, raw=raw), ("out", "plain")) == {"out": expected}


def test_a_scale_per_channel_is_none() -> None:
    model = serialised(np.float32([0.5, 0.25]), np.uint8([0, 0]))
    assert read_output_scales(model, ("out",)) == {}
