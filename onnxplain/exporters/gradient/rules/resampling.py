"""Linear operators along single axes: Resize, Pad, and all others that are a matrix per axis.

The operator itself is run on the unit vectors of an axis when the graph is exported; its outputs are the matrix. One
rule therefore covers every interpolation mode and every coordinate convention.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.reference
import onnx_ir as ir

from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.graph.values import static_dims
from onnxplain.exporters.operators.site import Gradients, Site

# The opset in which the operators are run. half_pixel_symmetric and wrap need 19; older forms have the same meaning.
RESIZE_OPSET = 19


def along_axis(at: Site, g: ir.Value, matrix: np.ndarray, axis: int, rank: int) -> ir.Value:
    """Σ_o g[…, o, …] · matrix[o, i] along `axis`: the transpose of y_o = Σ_i matrix[o, i] x_i."""
    op, weights = at.branch, np.ascontiguousarray(matrix, dtype=np.float32)
    if axis == rank - 1:
        return op.MatMul(g, weights)
    if axis == rank - 2:
        return op.MatMul(np.ascontiguousarray(weights.T), g)
    perm = [*range(axis), *range(axis + 1, rank), axis]
    moved = op.MatMul(op.Transpose(g, perm=perm), weights)
    return op.Transpose(moved, perm=[perm.index(place) for place in range(rank)])


def resize(at: Site, g: ir.Value) -> Gradients:
    """Y = R X along each resized axis: dX = Rᵀ dY."""
    if any(at.needs(index) for index in range(1, len(at.node.inputs))):
        raise at.refuse("its sizes depend on the layer")
    scales, roi = at.constant(2), at.constant(1)
    if scales is not None and scales.size == 0:
        scales = None
    if scales is None and not at.has_input(3):
        raise at.refuse("its scales are computed at run time")
    shape, out, rank = at.input_dims(), at.output_dims(), len(at.input_dims())
    axes = [axis % rank for axis in at.attribute("axes") or range(rank)]
    _check_aspect_ratio(at, axes)
    crops = at.attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    # A batch size that stays open is not resized.
    keeps = [before == after or isinstance(before, str) for before, after in zip(shape, out, strict=True)]
    if all(keeps):
        # ONNX Runtime copies the input if no size changes, whatever the scales and the region are.
        return [g, None, None, None]
    for position, axis in enumerate(axes):
        scale = None if scales is None else float(scales[position])
        if isinstance(shape[axis], str) or (keeps[axis] and scale in (None, 1.0) and not crops):
            continue
        (size_in,), (size_out,) = static_dims(at.value(0), (axis,)), static_dims(at.node.outputs[0], (axis,))
        bounds = None
        if roi is not None and roi.size:
            bounds = float(roi[position]), float(roi[position + len(axes)])
        matrix = _resize_matrix(at, size_in, size_out, scale, bounds)
        # A batch of one may have several targets.
        g = at.branch.Mul(g, float(matrix[0, 0])) if matrix.size == 1 else along_axis(at, g, matrix, axis, rank)
    return [g, None, None, None]


def _check_aspect_ratio(at: Site, axes: list[int]) -> None:
    """Refuse a policy for which the scale of an axis differs from the ratio of its sizes."""
    policy, sizes = at.attribute("keep_aspect_ratio_policy", "stretch"), at.constant(3)
    if policy == "stretch" or (at.constant(2) is not None and not at.has_input(3)):
        return
    size_in = static_dims(at.value(0), tuple(axes))
    size_out = static_dims(at.node.outputs[0], tuple(axes))
    if sizes is None:
        raise at.refuse(f"keep_aspect_ratio_policy {policy} with sizes that are computed at run time")
    choose = min if policy == "not_larger" else max
    scale = choose(wanted / size for wanted, size in zip(sizes.tolist(), size_in, strict=True))
    if any(scale * before != after for before, after in zip(size_in, size_out, strict=True)):
        raise at.refuse(f"keep_aspect_ratio_policy {policy} from {size_in} to {size_out}, which rounds a size")


def _resize_matrix(
    at: Site, size_in: int, size_out: int, scale: float | None, bounds: tuple[float, float] | None
) -> np.ndarray:
    """float32 [size_out, size_in]: Resize of one axis. The last axis grows from 1 to 2, so that some size changes."""
    keep = {"antialias", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "mode", "nearest_mode"}
    attributes = {name: attr.value for name, attr in at.node.attributes.items() if name in keep}
    low, high = bounds if bounds is not None else (0.0, 1.0)
    roi = np.array([0, 0, low, 0, 1, 1, high, 1], np.float32)
    if scale is not None:
        return _matrix("Resize", attributes, size_in, roi, np.array([1, 1, scale, 2], np.float32))
    return _matrix("Resize", attributes, size_in, roi, None, np.array([size_in, 1, size_out, 2], np.int64))


def _matrix(operator: str, attributes: Mapping[str, Any], size_in: int, *operands: np.ndarray | None) -> np.ndarray:
    """float32 [size_out, size_in]: the operator on unit vectors along axis 2, read at entry 0 of the last axis."""
    unit = np.eye(size_in, dtype=np.float32).reshape(size_in, 1, size_in, 1)
    names = [f"operand_{index}" if array is not None else "" for index, array in enumerate(operands)]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["x", *names], ["y"], **attributes)],
        "axis",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, unit.shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(array, name)
            for array, name in zip(operands, names, strict=True)
            if array is not None
        ],
    )
    opset = onnx.helper.make_opsetid("", RESIZE_OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    result = GraphSession(model, f"{operator} along one axis").run({"x": unit})["y"]
    return np.ascontiguousarray(result[:, 0, :, 0].T)


def pad(at: Site, g: ir.Value) -> Gradients:
    """Constant: the borders are cut off. Reflect, edge, wrap: the gradient of copied values is added back."""
    if at.needs(2):
        raise at.refuse("the constant that it pads with depends on the layer")
    rank = len(at.input_dims())
    pads = at.constant(1)
    stated = at.constant(3) if at.has_input(3) else np.arange(rank)
    if pads is None or stated is None:
        raise at.refuse("its pads are computed at run time")
    axes = [int(axis) % rank for axis in stated]
    begin, end = pads[: len(axes)], pads[len(axes) :]
    mode = at.attribute("mode", "constant")
    if mode == "constant":
        # The input `axes` is not used: ONNX Runtime 1.31 moves a Transpose across Pad as if it did not exist.
        cut = np.zeros((2, rank), np.int64)
        cut[:, axes] = -begin, -end
        return [at.branch.Pad(g, cut.reshape(-1), 0.0, mode="constant"), None, None, None]
    for axis, before, after in zip(axes, begin, end, strict=True):
        if before or after:
            (size,) = static_dims(at.value(0), (axis,))
            matrix = _matrix("Pad", {"mode": mode}, size, np.array([0, 0, before, 0, 0, 0, after, 0], np.int64))
            g = along_axis(at, g, matrix, axis, rank)
    return [g, None, None, None]
