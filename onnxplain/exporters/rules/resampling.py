"""Linear operators along single axes: Resize, Pad, and everything else that is a matrix per axis.

The matrix of an axis is read off the operator itself, run on the unit vectors of that axis when the graph is
exported, so every mode of interpolation and every convention of coordinates is covered by one rule.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper
import onnx.reference
import onnx_ir as ir

from onnxplain.exporters.rules.site import Gradients, Site
from onnxplain.exporters.session import GraphSession
from onnxplain.exporters.values import static_dims


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
    shape, rank = at.input_dims(), len(at.input_dims())
    out = at.output_dims()
    scales, sizes, roi = at.constant(2), at.constant(3), at.constant(1)
    axes = [axis % rank for axis in at.attribute("axes") or range(rank)]
    for position, axis in enumerate(axes):
        scale = None if scales is None or scales.size == 0 else float(scales[position])
        same = shape[axis] == out[axis] and (scale is None or scale == 1.0)
        if same and at.attribute("coordinate_transformation_mode", b"") != "tf_crop_and_resize":
            continue
        (size_in,), (size_out,) = static_dims(at.value(0), (axis,)), static_dims(at.node.outputs[0], (axis,))
        if scale is None and (sizes is None or sizes.size == 0):
            raise at.refuse("its sizes are computed at run time")
        bounds = None
        if roi is not None and roi.size:
            bounds = float(roi[position]), float(roi[position + len(axes)])
        g = along_axis(at, g, _resize_matrix(at, size_in, size_out, scale, bounds), axis, rank)
    return [g, None, None, None]


def _resize_matrix(
    at: Site, size_in: int, size_out: int, scale: float | None, bounds: tuple[float, float] | None
) -> np.ndarray:
    """float32 [size_out, size_in]: the operator on the unit vectors of one axis, the other one of size 1."""
    unit = np.eye(size_in, dtype=np.float32).reshape(size_in, 1, size_in, 1)
    keep = {"coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "mode", "nearest_mode"}
    attributes = {name: attr.value for name, attr in at.node.attributes.items() if name in keep | {"antialias"}}
    low, high = bounds if bounds is not None else (0.0, 1.0)
    inputs: list[tuple[str, np.ndarray]] = [("roi", np.array([0, 0, low, 0, 1, 1, high, 1], np.float32))]
    if scale is not None:
        inputs.append(("scales", np.array([1, 1, scale, 1], np.float32)))
        names = ["x", "roi", "scales"]
    else:
        inputs.append(("sizes", np.array([size_in, 1, size_out, 1], np.int64)))
        names = ["x", "roi", "", "sizes"]
    node = onnx.helper.make_node("Resize", names, ["y"], **attributes)
    graph = onnx.helper.make_graph(
        [node],
        "axis",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, unit.shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in inputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    result = GraphSession(model, "Resize along one axis").run({"x": unit})["y"]
    return np.ascontiguousarray(result.reshape(size_in, -1).T)


def pad(at: Site, g: ir.Value) -> Gradients:
    """Constant: cut the borders off again. Reflect, edge, wrap: what a border copied is added back."""
    rank = len(at.input_dims())
    pads = at.constant(1)
    stated = at.constant(3) if at.has_input(3) else np.arange(rank)
    if pads is None or stated is None:
        raise at.refuse("its pads are computed at run time")
    axes = [int(axis) % rank for axis in stated]
    begin, end = pads[: len(axes)], pads[len(axes) :]
    mode = at.attribute("mode", "constant")
    if mode == "constant":
        operands = [g, [-int(p) for p in pads], 0.0, *([axes] if at.has_input(3) else [])]
        return [at.branch.Pad(*operands, mode="constant"), None, None, None]
    for axis, before, after in zip(axes, begin, end, strict=True):
        if before or after:
            (size,) = static_dims(at.value(0), (axis,))
            matrix = np.pad(np.eye(size, dtype=np.float32), ((max(before, 0), max(after, 0)), (0, 0)), mode=mode)
            kept = matrix[max(-before, 0) : len(matrix) - max(-after, 0)]
            g = along_axis(at, g, kept, axis, rank)
    return [g, None, None, None]
