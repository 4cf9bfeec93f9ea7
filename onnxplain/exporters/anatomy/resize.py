"""Where the results of a Resize lie: Operators.md of onnx, coordinate_transformation_mode and nearest_mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxplain.exporters.anatomy.moves import Followed, Known, ended, shape_of
from onnxplain.exporters.anatomy.places import Grid
from onnxplain.exporters.anatomy.positions import EndReason, Positions
from onnxplain.exporters.graph.values import attribute, constant_of


@dataclass(frozen=True)
class _Axis:
    """One resized axis: its sizes, the scale that the operator computes with, and what `tf_crop_and_resize` reads."""

    size_in: int
    size_out: int
    scale: float
    crop: tuple[float, float] = (0.0, 1.0)


def _half_pixel(axis: _Axis) -> tuple[float, float]:
    return 0.5 / axis.scale - 0.5, 1 / axis.scale


def _pytorch_half_pixel(axis: _Axis) -> tuple[float, float]:
    return _half_pixel(axis) if axis.size_out > 1 else (0.0, 1 / axis.scale)


def _half_pixel_symmetric(axis: _Axis) -> tuple[float, float]:
    start, step = _half_pixel(axis)
    adjustment = axis.size_out / (axis.scale * axis.size_in)
    return start + axis.size_in / 2 * (1 - adjustment), step


def _align_corners(axis: _Axis) -> tuple[float, float]:
    return 0.0, (axis.size_in - 1) / (axis.size_out - 1) if axis.size_out > 1 else 0.0


def _asymmetric(axis: _Axis) -> tuple[float, float]:
    return 0.0, 1 / axis.scale


def _crop_and_resize(axis: _Axis) -> tuple[float, float]:
    (start, end), last = axis.crop, axis.size_in - 1
    if axis.size_out == 1:
        return 0.5 * (start + end) * last, 0.0
    return start * last, (end - start) * last / (axis.size_out - 1)


# Output number j reads the input at start + step · j, counted from the first entry's centre.
MODES: dict[str, Callable[[_Axis], tuple[float, float]]] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    "tf_crop_and_resize": _crop_and_resize,
}
NEAREST: dict[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def follow_resize(node: ir.Node, source: Positions, known: Known) -> Followed:
    """Each axis of another size has new entries between the old ones."""
    out, rank = shape_of(node.outputs[0], {}), len(source.shape)
    axes = _resized_axes(node, source, out)
    if out is None or axes is None:
        return ended(node, EndReason.COMPUTED)
    mode, upsample = str(attribute(node, "mode", "nearest")), node.op_type == "Upsample"
    stated = "asymmetric" if upsample else str(attribute(node, "coordinate_transformation_mode", "half_pixel"))
    rounding = "floor" if upsample else str(attribute(node, "nearest_mode", "round_prefer_floor"))
    if stated not in MODES or (mode == "nearest" and rounding not in NEAREST):
        return ended(node, EndReason.UNKNOWN)
    for number, axis in axes.items():
        if not source.varies_along(number):
            continue
        if any(places.merge(1) is None for places in source.both if rank == 4 and number > 1):
            return ended(node, EndReason.DISAGREE)
        if not all(places.is_even_along(number) for places in source.both):
            return source.end or ended(node, EndReason.UNEVEN)
        start, step = MODES[stated](axis)
        if mode == "nearest":
            start = _rounded_start(axis, start, step, rounding)
        spread, crops = 0.0 if mode == "nearest" else 1.0, axis.crop != (0.0, 1.0)
        rows, columns = (
            places.regrid(number, Grid(start, step, axis.size_out, spread, crops)) for places in source.both
        )
        source = replace(source, rows=rows, columns=columns)
    return replace(source, shape=tuple(out))


def _rounded_start(axis: _Axis, start: float, step: float, rounding: str) -> float:
    """Where the line through the entries that are read begins: on average, they are the rounded ones."""
    exact = start + step * np.arange(axis.size_out, dtype=np.float64)
    read = np.clip(NEAREST[rounding](exact), 0, axis.size_in - 1)
    inside = (exact > -0.5) & (exact < axis.size_in - 0.5)
    return start + float((read - exact)[inside].mean()) if inside.any() else start


def _resized_axes(node: ir.Node, source: Positions, out: tuple[int, ...] | None) -> dict[int, _Axis] | None:
    """The axes whose entries are new ones, by number; None where a scale, size or region is not constant."""
    rank = len(source.shape)
    if out is None or len(out) != rank:
        return None
    upsample = node.op_type == "Upsample"
    axes = [axis % rank for axis in node.attributes.get_ints("axes", ()) or range(rank)]
    scales = _constant(node, 1 if upsample else 2)
    sizes = None if upsample else _constant(node, 3)
    if upsample and scales is None and node.attributes.get("scales") is not None:
        scales = np.asarray(node.attributes["scales"].as_floats())
    crop = np.tile([[0.0], [1.0]], (1, len(axes)))
    if attribute(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize":
        stated = _constant(node, 1)
        if stated is None:
            return None
        crop = stated.reshape(2, -1)
    found = {}
    for place, number in enumerate(axes):
        size_in, size_out = source.shape[number], out[number]
        scale = float(scales[place]) if scales is not None and scales.size else size_out / size_in
        whole = tuple(crop[:, place]) == (0.0, 1.0)
        if size_in != size_out or not whole or scale != 1:
            found[number] = _Axis(size_in, size_out, scale, (float(crop[0, place]), float(crop[1, place])))
    policy = attribute(node, "keep_aspect_ratio_policy", "stretch")
    if policy != "stretch" and sizes is not None and sizes.size:
        ratios = [float(size) / source.shape[number] for size, number in zip(sizes, axes, strict=True)]
        scale = min(ratios) if policy == "not_larger" else max(ratios)
        found = {number: replace(axis, scale=scale) for number, axis in found.items()}
    return found


def _constant(node: ir.Node, index: int) -> npt.NDArray[np.generic] | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None else constant_of(value)
