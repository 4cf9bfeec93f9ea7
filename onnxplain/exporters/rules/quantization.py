"""Quantization, differentiated as clipped straight-through.

Rounding has derivative zero almost everywhere; it is passed over as if it were the identity (Bengio et al. 2013,
arXiv:1308.3432), and the gradient is stopped where the integer saturates (Esser et al. 2020, arXiv:1902.08153,
eq. 3). A saturating QuantizeLinear is how quantized files write ReLU and ReLU6.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.rules.site import Gradients, Site


def quantize_linear(at: Site, g: ir.Value) -> Gradients:
    """q = saturate(round(x / s) + z): dx = dq / s where q lies strictly inside its range."""
    if at.needs(1):
        raise at.refuse("its scale depends on the layer")
    op = at.branch
    low, high = quantized_range(at.node.outputs[0].dtype)
    q = op.Cast(at.output(), to=ir.DataType.FLOAT)
    inside = op.And(op.Greater(q, float(low)), op.Less(q, float(high)))
    return [op.Where(inside, op.Div(g, _per_axis(at, 1)), 0.0), None, None]


def dequantize_linear(at: Site, g: ir.Value) -> Gradients:
    """y = (q − z) s: dq = dy · s."""
    if at.needs(1):
        raise at.refuse("its scale depends on the layer")
    return [at.branch.Mul(g, _per_axis(at, 1)), None, None]


def quantized_range(dtype: ir.DataType | None) -> tuple[int, int]:
    """Smallest and largest integer of a quantized type."""
    if dtype is None:
        raise ValueError("a quantized value without a type")
    info = np.iinfo(dtype.numpy())
    return int(info.min), int(info.max)


def _per_axis(at: Site, index: int) -> ir.Value:
    """The scale, shaped to broadcast along the quantized axis."""
    if at.attribute("block_size", 0):
        raise at.refuse("blocked quantization")
    scale, scale_rank, rank = at.input(index), len(at.input_dims(index)), len(at.input_dims())
    if scale_rank == 0 or at.input_dims(index) == (1,):
        return at.branch.Reshape(scale, [1] * rank) if scale_rank else scale
    axis = at.attribute("axis", 1) % rank
    return at.branch.Unsqueeze(scale, [other for other in range(rank) if other != axis])
