"""Normalizations: by stored statistics, by statistics of the value itself, or by neighbouring channels."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.graph.values import static_dims
from onnxplain.exporters.operators.site import Gradients, Site


def batch_normalization(at: Site, g: ir.Value) -> Gradients:
    """Inference: Y = (X − μ) γ / √(σ² + ε) + β per channel, so dX = dY · γ / √(σ² + ε)."""
    if at.attribute("training_mode", 0):
        raise at.refuse("it is in training mode")
    if any(at.needs(index) for index in (1, 2, 3, 4)):
        raise at.refuse("its statistics depend on the layer")
    op = at.branch
    deviation = op.Sqrt(op.Add(at.input(4), float(at.attribute("epsilon", 1e-5))))
    factor = op.Div(at.input(1), deviation)
    return [op.scale_channels(g, factor, len(at.input_dims()) - 2), None, None, None, None]


def layer_normalization(at: Site, g: ir.Value) -> Gradients:
    """Y = γ X̂ + β over the axes from `axis` on.

    Its function body in onnx has twenty nodes and computes on shapes; this rule has ten. ViT and ConvNeXt consist
    largely of this operator.
    """
    rank = len(at.input_dims())
    axis = at.attribute("axis", -1) % rank
    if any(at.needs(index) for index in (1, 2) if index < len(at.node.inputs)):
        raise at.refuse("its scale or bias depends on the layer")
    return [_through_statistics(at, at.branch.Mul(g, at.input(1)), list(range(axis, rank))), None, None]


def instance_normalization(at: Site, g: ir.Value) -> Gradients:
    """Y = γ X̂ + β; the statistics are over space, for each image and channel."""
    if at.needs(1) or at.needs(2):
        raise at.refuse("its scale or bias depends on the layer")
    rank = len(at.input_dims())
    scaled = at.branch.Mul(g, _per_channel(at, at.input(1)))
    return [_through_statistics(at, scaled, list(range(2, rank))), None, None]


def group_normalization(at: Site, g: ir.Value) -> Gradients:
    """Y = γ X̂ + β per channel; the statistics are over a group of channels and space, for each image (opset 21)."""
    if at.needs(1) or at.needs(2):
        raise at.refuse("its scale or bias depends on the layer")
    op, groups = at.branch, at.attribute("num_groups")
    if at.input_dims(1) != at.input_dims(0)[1:2]:
        raise at.refuse("found a scale per group (before opset 21), expected one per channel: export with opset 21")
    size = int(np.prod(static_dims(at.value(0), tuple(range(1, len(at.input_dims()))))))
    grouped = [-1, groups, size // groups]
    scaled = op.Reshape(op.Mul(g, _per_channel(at, at.input(1))), grouped)
    through = _statistics(at, scaled, op.Reshape(at.input(0), grouped), [2], size // groups)
    return [at.reshape_like_input(through), None, None]


def rms_normalization(at: Site, g: ir.Value) -> Gradients:
    """Y = γ X / r, r = √(mean(X²) + ε) over the axes from `axis` on: dX = (dŶ − Ŷ · mean(dŶ · Ŷ)) / r, Ŷ = X / r."""
    if at.needs(1):
        raise at.refuse("its scale depends on the layer")
    op, x, rank = at.branch, at.input(0), len(at.input_dims())
    axes = list(range(at.attribute("axis", -1) % rank, rank))
    size = int(np.prod(static_dims(at.value(0), tuple(axes))))
    square = op.Mul(op.ReduceSum(op.Mul(x, x), axes, keepdims=1), 1.0 / size)
    inverse = op.Div(1.0, op.Sqrt(op.Add(square, float(at.attribute("epsilon", 1e-5)))))
    normal, scaled = op.Mul(x, inverse), op.Mul(g, at.input(1))
    inner = op.Mul(op.ReduceSum(op.Mul(scaled, normal), axes, keepdims=1), 1.0 / size)
    return [op.Mul(op.Sub(scaled, op.Mul(normal, inner)), inverse), None]


def _through_statistics(at: Site, g: ir.Value, axes: list[int]) -> ir.Value:
    """X̂ = (X − μ) / √(σ² + ε): dX = (dX̂ − mean(dX̂) − X̂ · mean(dX̂ · X̂)) / √(σ² + ε)."""
    size = int(np.prod(static_dims(at.value(0), tuple(axes))))
    return _statistics(at, g, at.input(0), axes, size)


def _statistics(at: Site, g: ir.Value, x: ir.Value, axes: list[int], size: int) -> ir.Value:
    op = at.branch

    def mean(value: ir.Value) -> ir.Value:
        return op.Mul(op.ReduceSum(value, axes, keepdims=1), 1.0 / size)

    centred = op.Sub(x, mean(x))
    variance = mean(op.Mul(centred, centred))
    inverse = op.Div(1.0, op.Sqrt(op.Add(variance, float(at.attribute("epsilon", 1e-5)))))
    normal = op.Mul(centred, inverse)
    return op.Mul(op.Sub(op.Sub(g, mean(g)), op.Mul(normal, mean(op.Mul(g, normal)))), inverse)


def lp_normalization(at: Site, g: ir.Value) -> Gradients:
    """Y = X / ‖X‖_p along `axis`: p = 2: (dY − Y Σ dY·Y) / ‖X‖, p = 1: (dY − sign(X) Σ dY·Y) / ‖X‖.

    The gradient is 0 if the norm is 0, since Y is 0 there too.
    """
    op, x, y = at.branch, at.input(0), at.output()
    axes = [at.attribute("axis", -1)]
    inner = op.ReduceSum(op.Mul(g, y), axes, keepdims=1)
    if at.attribute("p", 2) == 1:
        norm, direction = op.ReduceSum(op.Abs(x), axes, keepdims=1), op.Sign(x)
    else:
        norm, direction = op.Sqrt(op.ReduceSum(op.Mul(x, x), axes, keepdims=1)), y
    through = op.Div(op.Sub(g, op.Mul(direction, inner)), norm)
    return [op.Where(op.Greater(norm, 0.0), through, 0.0)]


def local_response_normalization(at: Site, g: ir.Value) -> Gradients:
    """Y_c = X_c B_c^−β with B_c = k + α/n Σ X² over the channels near c (Krizhevsky et al. 2012, section 3.3).

    dX_c = dY_c B_c^−β − 2αβ/n · X_c Σ dY_d Y_d / B_d over the channels d whose B_d contains X_c. The sums over
    channels are 1 × 1 convolutions with a band matrix of ones.
    """
    op, x, y = at.branch, at.input(0), at.output()
    (channels,) = static_dims(at.value(0), (1,))
    size = at.attribute("size")
    alpha, beta, bias = (float(at.attribute(*row)) for row in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    offset = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    band = ((offset >= -((size - 1) // 2)) & (offset <= size // 2)).astype(np.float32)
    ones = (1,) * (len(at.input_dims()) - 2)
    base = op.Add(op.Mul(op.Conv(op.Mul(x, x), band.reshape(channels, channels, *ones)), alpha / size), bias)
    near = op.Conv(op.Div(op.Mul(g, y), base), np.ascontiguousarray(band.T).reshape(channels, channels, *ones))
    return [op.Sub(op.Mul(g, op.Pow(base, -beta)), op.Mul(op.Mul(x, near), 2.0 * alpha * beta / size))]


def _per_channel(at: Site, factor: ir.Value) -> ir.Value:
    """A vector over channels, reshaped to broadcast against [N, C, …]."""
    spatial_rank = len(at.input_dims()) - 2
    return at.branch.Unsqueeze(factor, list(range(1, 1 + spatial_rank))) if spatial_rank > 0 else factor
