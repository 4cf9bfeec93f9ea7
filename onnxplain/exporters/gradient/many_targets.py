"""Whether one run can differentiate several targets of one image.

The cotangents then have one row per target, and broadcast over the one row of the image's forward values. This is right
where every value that the gradient passes holds the images along one axis that holds nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx_ir as ir

from onnxplain.exporters.file.batch_axis import BatchPlace, follow_batch
from onnxplain.exporters.gradient.differentiate import values_that_vary
from onnxplain.exporters.graph.path import path_between
from onnxplain.exporters.graph.values import UNKNOWN, dims, maybe_dims
from onnxplain.exporters.operators.table import operator_of


def takes_many_targets(layer: ir.Value, ends: Sequence[ir.Value]) -> bool:
    """Whether a walk from `ends` back to `layer` may have more rows than the image. Decided without a run.

    Not where the batch is merged with windows or attention heads, is fixed above 1, or is counted by indices
    (GatherND). A fixed batch of 1 has to be the first axis. The check before a file is written compares the gradients
    (checks/many_targets.py).
    """
    path = path_between(layer, ends)
    if any(operator_of(node).counts_images for node in path):
        return False
    varying = values_that_vary(path, {layer})
    passed = [layer, *(value for node in path for value in node.outputs if value in varying and _is_used(value, ends))]
    batch = dims(layer)[0]
    if isinstance(batch, str):
        return batch != UNKNOWN and all(_is_one_axis(value, batch) for value in passed)
    if batch != 1:
        return False
    places = follow_batch(path, {layer: BatchPlace(0)}, batch)
    return all((maybe_dims(value) or ())[:1] == (1,) and places.get(value) == BatchPlace(0) for value in passed)


def _is_used(value: ir.Value, ends: Collection[ir.Value]) -> bool:
    return bool(value.consumers()) or value in ends


def _is_one_axis(value: ir.Value, batch: str) -> bool:
    """Whether one axis of the value is the batch, and all others are numbers."""
    return [size for size in maybe_dims(value) or () if not isinstance(size, int)] == [batch]
