"""Products with weights of a few bits as a witness has them: with the numbers that the bits stand for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxplain.errors import OnnxplainError
from onnxplain.exporters.checks.witness_builder import WitnessBuilder
from onnxplain.exporters.graph.values import constant_of, describe, int_attribute, name_of


def add_low_bit_product(witness: WitnessBuilder, node: ir.Node) -> None:
    """Append MatMulNBits (docs/ContribOperators.md of ONNX Runtime) as MatMul: its activations are not rounded.

    Raises OnnxplainError where its weights are no constants.
    """
    source, out = node.inputs[0], name_of(node.outputs[0])
    assert source is not None
    operands = [witness.input(source), witness.constant(_weights(node), out, "weights")]
    bias = node.inputs[5] if len(node.inputs) > 5 else None
    if bias is None:
        witness.emit("MatMul", operands, out)
        return
    witness.emit("MatMul", operands, f"{out}/product")
    witness.emit("Add", [f"{out}/product", witness.input(bias)], out)


def _weights(node: ir.Node) -> np.ndarray:
    """float64 [K, N]."""
    packed, scales = (constant_of(node.inputs[index]) for index in (1, 2))
    given = len(node.inputs) > 3 and node.inputs[3] is not None
    zeros = constant_of(node.inputs[3]) if given else None
    if packed is None or scales is None or (given and zeros is None):
        raise OnnxplainError(f"the weights of {describe(node)} are computed at run time: choose a later layer")
    bits, columns, inner = (int_attribute(node, name, 4) for name in ("bits", "N", "K"))
    block = int_attribute(node, "block_size", 16)
    blocks = -(-inner // block)
    if zeros is None:
        zeros = np.full((columns, blocks), 2.0 ** (bits - 1))
    elif zeros.dtype == np.uint8:
        zeros = _numbers(zeros.reshape(columns, -1), bits)[:, :blocks]
    integers = _numbers(packed.reshape(columns, -1), bits).reshape(columns, blocks, block)
    centred = integers - zeros.astype(np.float64).reshape(columns, blocks, 1)
    weights = (centred * scales.astype(np.float64).reshape(columns, blocks, 1)).reshape(columns, -1)
    return np.asarray(weights[:, :inner].T)


def _numbers(packed: np.ndarray, bits: int) -> np.ndarray:
    """The numbers in rows of bytes, the lowest bits first."""
    each = np.unpackbits(packed, axis=1, bitorder="little").reshape(len(packed), -1, bits)
    return np.asarray((each * 2.0 ** np.arange(bits)).sum(2))
