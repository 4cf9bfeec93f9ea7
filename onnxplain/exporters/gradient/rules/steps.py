"""Operators whose gradient is zero wherever it exists: steps, comparisons, positions, sizes."""

from __future__ import annotations

import onnx_ir as ir

from onnxplain.exporters.operators.site import Gradients, Site


def step(at: Site, g: ir.Value) -> Gradients:
    """The gradient is zero: dX = 0."""
    return [None] * len(at.node.inputs)
