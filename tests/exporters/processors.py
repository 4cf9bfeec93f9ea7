"""In which graphs the products of eight-bit integers are the same on every processor.

On x86 processors with AVX2 but without VNNI ONNX Runtime multiplies uint8 by int8 with vpmaddubsw, which adds the
products of neighbours in int16, where they saturate: 2 · 255 · 127 is 64770, and int16 ends at 32767. Other processors
are exact. So no test may ask for the integers of such a product unless none can saturate: weights within ±64 cannot,
since 2 · 255 · 64 is 32640. Weights in uint8 have kernels of their own, which widen to 16 bits before they multiply.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.numpy_helper

LARGEST = 64
# Operators that multiply integers: where the right operand is, and where its zero point.
INTEGER_PRODUCTS = {
    "ConvInteger": (1, 3),
    "DynamicQuantizeMatMul": (1, 3),
    "MatMulInteger": (1, 3),
    "MatMulIntegerToFloat": (1, 5),
    "QAttention": (1, 7),
    "QGemm": (3, 5),
    "QLinearConv": (3, 5),
    "QLinearMatMul": (3, 5),
}
# Operators that ONNX Runtime makes those of, where both operands come out of DequantizeLinear.
FLOAT_PRODUCTS = ("Conv", "Gemm", "MatMul")


def saturating_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """uint8 [M, K] times int8 [K, N] as vpmaddubsw has it: pairs along K saturate in int16, their sum is exact."""
    odd = left.shape[1] % 2
    a = np.pad(left.astype(np.int64), ((0, 0), (0, odd))).reshape(len(left), -1, 2)
    b = np.pad(right.astype(np.int64), ((0, odd), (0, 0))).reshape(-1, 2, right.shape[1])
    int16 = np.iinfo(np.int16)
    return np.asarray(np.einsum("mpi,pin->mpn", a, b).clip(int16.min, int16.max).sum(axis=1))


def require_same_everywhere(model: onnx.ModelProto) -> None:
    """Fail where a product of this graph, the branches of its Ifs aside, may saturate on some processors."""
    found = _saturating(model.graph)
    assert not found, f"int8 beyond ±{LARGEST} is multiplied by {found}: some processors saturate there"


def _saturating(graph: onnx.GraphProto) -> list[str]:
    """The outputs of the nodes that multiply by int8 values beyond the limit, or by int8 values that are not known."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    dequantizing = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    found = []
    for node in graph.node:
        if node.op_type in INTEGER_PRODUCTS:
            operand, zero = INTEGER_PRODUCTS[node.op_type]
            names = [node.input[index] if index < len(node.input) else "" for index in (operand, zero)]
        elif node.op_type in FLOAT_PRODUCTS and all(name in dequantizing for name in node.input[:2]):
            inputs = dequantizing[node.input[1]].input
            names = [inputs[0], inputs[2] if len(inputs) > 2 else ""]
        else:
            continue
        tensor, zero_point = (constants.get(name) for name in names)
        if (tensor or zero_point or onnx.TensorProto()).data_type != onnx.TensorProto.INT8:
            continue
        if tensor is None or np.abs(onnx.numpy_helper.to_array(tensor).astype(int)).max() > LARGEST:
            found.append(node.output[0])
    return found
