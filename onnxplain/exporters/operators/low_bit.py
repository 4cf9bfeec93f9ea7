"""Products with weights of 2, 4 or 8 bits in blocks, several in a byte: MatMulNBits, in standard operators.

Definition: docs/ContribOperators.md of ONNX Runtime. The weights are unpacked inside the branch, so that the file holds
them once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import FLOATS, describe, int_attribute

BITS_OF_A_BYTE = 8


def matmul_nbits(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """A Wᵀ + bias, W[n, k] = (packed[n, k] − zero[n, block of k]) · scale[n, block of k].

    Without zero points zero is the middle of the range, 8 for 4 bits.
    """
    a, packed, scales, zeros, group_index, bias = (*node.inputs, *[None] * 4)[:6]
    if group_index is not None:
        raise UnsupportedError(f"no gradient for {describe(node)}: its input g_idx, which sorts columns into groups")
    bits, block = int_attribute(node, "bits", 4), int_attribute(node, "block_size", 0)
    columns, inner = int_attribute(node, "N", 0), int_attribute(node, "K", 0)
    blocks = -(-inner // block)
    integers = _unpacked(op, packed, bits, [columns, blocks, block])
    if zeros is None:
        centred = op.Sub(integers, float(2 ** (bits - 1)))
    elif zeros.dtype in FLOATS:
        centred = op.Sub(integers, op.Reshape(zeros, [columns, blocks, 1]))
    else:
        whole = _unpacked(op, zeros, bits, [columns, -1])
        centred = op.Sub(integers, op.Reshape(op.Slice(whole, [0], [blocks], [1]), [columns, blocks, 1]))
    weight = op.Reshape(op.Mul(centred, op.Reshape(scales, [columns, blocks, 1])), [columns, blocks * block])
    product = op.MatMul(a, op.Transpose(op.Slice(weight, [0], [inner], [1]), perm=[1, 0]))
    return [product if bias is None else op.Add(product, bias)]


def _unpacked(op: Branch, packed: ir.Value | None, bits: int, shape: Sequence[int]) -> ir.Value:
    """The integers of uint8 bytes as float32, the lowest bits of a byte first."""
    shifts = np.arange(0, BITS_OF_A_BYTE, bits, dtype=np.uint8)
    parts = op.BitShift(op.Unsqueeze(packed, [-1]), shifts, direction="RIGHT")
    if bits < BITS_OF_A_BYTE:
        # Not BitwiseAnd, which opset 17 does not have.
        parts = op.Mod(parts, np.array(2**bits, np.uint8))
    return op.Reshape(op.Cast(parts, to=ir.DataType.FLOAT), shape)
