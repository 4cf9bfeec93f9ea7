"""Normalizations with stored statistics."""

from __future__ import annotations

import onnx_ir as ir

from onnxplain.exporters.rules.site import Gradients, Site


def batch_normalization(at: Site, g: ir.Value) -> Gradients:
    """Inference: Y = (X − μ) γ / √(σ² + ε) + β per channel, so dX = dY · γ / √(σ² + ε)."""
    if at.attribute("training_mode", 0):
        raise at.refuse("it is in training mode")
    if any(at.needs(index) for index in (1, 2, 3, 4)):
        raise at.refuse("its statistics depend on the layer")
    op = at.branch
    deviation = op.Sqrt(op.Add(at.input(4), float(at.attribute("epsilon", 1e-5))))
    factor = op.Div(at.input(1), deviation)
    spatial_rank = len(at.input_dims()) - 2
    if spatial_rank > 0:
        factor = op.Unsqueeze(factor, list(range(1, 1 + spatial_rank)))
    return [op.Mul(g, factor), None, None, None, None]
