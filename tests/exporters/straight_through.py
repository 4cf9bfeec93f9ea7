"""Graphs with integers inside, and the straight-through formula that their gradients are held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import torch

from tests.exporters.definitions import MICROSOFT


def integer_model(
    nodes: list[onnx.NodeProto], inputs: Mapping[str, np.ndarray], constants: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """Nodes from float inputs to y, the first axis open."""
    info, floats = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "integers",
        [info(name, floats, ["N", *array.shape[1:]]) for name, array in inputs.items()],
        [onnx.ValueInfoProto(name="y")],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid(MICROSOFT, 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)


class Quantized(torch.autograd.Function):
    """q = clamp(round(x / s) + z), dequantized; its gradient passes where q lies strictly inside the range."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float, zero: int, low: int, high: int) -> torch.Tensor:
        q = torch.round(x / scale) + zero
        ctx.save_for_backward((q > low) & (q < high))
        return (q.clamp(low, high) - zero) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None, None


def gradient_of(y: torch.Tensor, x: torch.Tensor, cotangent: np.ndarray) -> np.ndarray:
    """d ⟨cotangent, y⟩ / d x by torch.autograd."""
    (gradient,) = torch.autograd.grad(y, x, torch.tensor(cotangent), retain_graph=True)
    return gradient.numpy()
