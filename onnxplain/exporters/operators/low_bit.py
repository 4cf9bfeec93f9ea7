"""Weights of 2, 4 or 8 bits in blocks, several in a byte: MatMulNBits, GatherBlockQuantized, in standard operators.

Definitions: docs/ContribOperators.md of ONNX Runtime. The weights are unpacked inside the branch, so that the file
holds them once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.graph.values import FLOATS, describe, dims, int_attribute, static_dims

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


def gather_block_quantized(op: Branch, node: ir.Node) -> Sequence[ir.Value]:
    """Rows of a table, table[…, k, …] = (data − zero[…, block of k, …]) · scale[…, block of k, …].

    Bytes hold several numbers along the last axis, and zero is then the middle of their range where it is left out.
    """
    data, indices, scales, zeros = (*node.inputs, None)[:4]
    assert data is not None and scales is not None
    axes = tuple(range(len(dims(data))))
    shape, counts = list(static_dims(data, axes)), list(static_dims(scales, axes))
    block, axis = int_attribute(node, "block_size", 128), int_attribute(node, "quantize_axis", 1) % len(shape)
    if data.dtype is ir.DataType.UINT8:
        bits = int_attribute(node, "bits", 4)
        shape[-1] *= BITS_OF_A_BYTE // bits
        integers = _unpacked(op, data, bits, shape)
        if zeros is not None:
            # The last byte of a row may be filled up.
            whole = _unpacked(op, zeros, bits, [*counts[:-1], -1])
            zeros = op.Slice(whole, [0], [counts[-1]], [len(counts) - 1])
        centre: ir.Value | float = 2.0 ** (bits - 1) if zeros is None else zeros
    elif data.dtype in (ir.DataType.INT4, ir.DataType.UINT4):
        integers = op.Cast(data, to=ir.DataType.FLOAT)
        centre = 0.0 if zeros is None else op.Cast(zeros, to=ir.DataType.FLOAT)
    else:
        raise UnsupportedError(f"no gradient for {describe(node)}: its data of type {data.dtype}")
    blocks = np.arange(shape[axis]) // block
    if not isinstance(centre, float):
        centre = op.Gather(centre, blocks, axis=axis)
    whole_scales = scales if scales.dtype is ir.DataType.FLOAT else op.Cast(scales, to=ir.DataType.FLOAT)
    table = op.Mul(op.Sub(integers, centre), op.Gather(whole_scales, blocks, axis=axis))
    rows = op.Gather(table, indices, axis=int_attribute(node, "gather_axis", 0))
    return [rows if scales.dtype is ir.DataType.FLOAT else op.Cast(rows, to=scales.dtype)]


def _unpacked(op: Branch, packed: ir.Value | None, bits: int, shape: Sequence[int]) -> ir.Value:
    """The integers of uint8 bytes as float32, the lowest bits of a byte first."""
    shifts = np.arange(0, BITS_OF_A_BYTE, bits, dtype=np.uint8)
    parts = op.BitShift(op.Unsqueeze(packed, [-1]), shifts, direction="RIGHT")
    if bits < BITS_OF_A_BYTE:
        # Not BitwiseAnd, which opset 17 does not have.
        parts = op.Mod(parts, np.array(2**bits, np.uint8))
    return op.Reshape(op.Cast(parts, to=ir.DataType.FLOAT), shape)
