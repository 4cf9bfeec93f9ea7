"""ONNX translations of torch operators that torch's own exporter writes in a form that is hard to recognise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
from onnxscript import opset18 as op
from onnxscript.function_libs.torch_lib.ops.core import aten_as_strided


def as_strided(
    tensor: ir.Value, size: Sequence[Any], stride: Sequence[Any], storage_offset: int | None = None
) -> ir.Value:
    """A view that reads a tensor in its own order is translated to the tensor itself.

    Pooling maps with channels last to one position ends in such a view. torch writes it as a Gather of indices that are
    computed at run time, and the pooled head before it would not be recognised.
    """
    shape = None if tensor.shape is None else list(tensor.shape)
    if shape is not None and not storage_offset and _reads_in_order(shape, size, stride):
        return op.Identity(tensor)  # type: ignore[type-var]
    return aten_as_strided(tensor, size, stride, storage_offset)  # type: ignore[no-any-return]


def _reads_in_order(shape: Sequence[Any], size: Sequence[Any], stride: Sequence[Any]) -> bool:
    """Whether size and strides are those of the shape. The first size may be symbolic; a stride of size 1 is free."""
    behind = shape[1:]
    if list(size[1:]) != behind or len(size) != len(shape) or not all(isinstance(s, int) for s in behind):
        return False
    if isinstance(shape[0], int) and size[0] != shape[0]:
        return False
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return all(found == step or side == 1 for found, step, side in zip(stride, steps, shape, strict=True))
