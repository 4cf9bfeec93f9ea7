"""Resize and Pad."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tests.exporters.cases.values import axes, ints
from tests.exporters.graphs import OperatorCase

MODES = ("nearest", "linear", "cubic")
COORDINATES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def _resize(
    shape: Sequence[int],
    scales: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    roi: Sequence[float] | None = None,
    note: str = "",
    **attributes: Any,
) -> OperatorCase:
    inputs = (
        ints(*shape),
        None if roi is None else np.array(roi, np.float32),
        None if scales is None else np.array(scales, np.float32),
        *(() if sizes is None else (axes(*sizes),)),
    )
    how = f"by-{'x'.join(map(str, scales))}" if scales is not None else f"to-{'x'.join(map(str, sizes or ()))}"
    # Sizes fix the first axis too, unless they are for some axes only.
    open_batch = scales is not None or "axes" in attributes
    note = "-".join(part for part in (how, note) if part)
    return OperatorCase("Resize", inputs, attributes, note=note, opset=19, step=1.0, open_batch=open_batch)


def _resizes() -> Iterable[OperatorCase]:
    for mode in MODES:
        for coordinates in COORDINATES:
            attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
            # Scales that do not divide: the size is rounded down, the coordinates are not.
            yield _resize((2, 2, 3, 4), scales=(1, 1, 2, 1.7), **attributes)
            yield _resize((2, 2, 5, 4), sizes=(2, 2, 3, 7), **attributes)
    for nearest in NEAREST:
        for coordinates in ("half_pixel", "asymmetric", "align_corners"):
            attributes = {"nearest_mode": nearest, "coordinate_transformation_mode": coordinates}
            yield _resize((1, 2, 4, 5), scales=(1, 1, 0.6, 1.5), mode="nearest", **attributes)
    for mode in ("linear", "cubic"):
        yield _resize((1, 2, 6, 6), sizes=(3, 4), mode=mode, antialias=1, axes=[2, 3])
        yield _resize((1, 2, 6, 5), scales=(1, 1, 0.5, 0.7), mode=mode, antialias=1)
        yield _resize((1, 2, 3, 3), sizes=(5, 6), mode=mode, antialias=1, axes=[2, 3], note="enlarging")
    for mode in MODES:
        # One row, one column: every coordinate of align_corners is 0.
        yield _resize(
            (1, 2, 1, 3), sizes=(4, 1), mode=mode, axes=[2, 3], coordinate_transformation_mode="align_corners"
        )
        yield _resize(
            (1, 2, 3, 4), sizes=(1, 1), mode=mode, axes=[-2, -1], coordinate_transformation_mode="pytorch_half_pixel"
        )
    crop = {"coordinate_transformation_mode": "tf_crop_and_resize"}
    for mode in MODES:
        whole = (0, 0, 0.2, 0.1, 1, 1, 0.8, 0.9)
        yield _resize((2, 2, 5, 6), sizes=(2, 2, 4, 3), roi=whole, mode=mode, **crop)
        yield _resize((2, 2, 5, 6), scales=(1, 1, 0.8, 1.5), roi=whole, mode=mode, **crop)
    outside = (0, 0, -0.2, 0.5, 1, 1, 0.8, 1.3)
    yield _resize(
        (2, 2, 5, 6), sizes=(2, 2, 5, 6), roi=outside, mode="linear", note="outside", extrapolation_value=7.0, **crop
    )
    yield _resize((2, 2, 4, 4), scales=(1, 1, 1, 1), mode="linear", note="same-size")
    yield _resize((2, 2, 4, 4), sizes=(2, 2, 4, 4), mode="cubic", note="same-size")
    yield _resize((2, 2, 4, 4), scales=(1, 1, 1.1, 1.2), mode="linear", note="rounded-to-the-same-size")
    yield _resize((1, 2, 2, 2), scales=(1, 1, 0.5, 1.3), mode="linear", note="one-axis-rounded-to-the-same-size")
    yield _resize((1, 2, 4, 5), scales=(1, 1, 2, 0.5), mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1)
    yield _resize((1, 2, 4, 5), scales=(2, 0.5), mode="linear", axes=[2, 3])
    yield _resize((2, 4, 5), scales=(1, 2, 1.5), mode="linear", note="2-D")
    yield _resize((2, 2, 4), scales=(1, 1, 2), mode="nearest", note="1-D")
    yield _resize((1, 2, 2, 3, 2), scales=(1, 1, 2, 1.5, 2), mode="nearest", note="3-D")
    yield _resize((1, 2, 2, 3, 2), scales=(1, 1, 2, 1.5, 2), mode="linear", note="3-D")
    yield _resize((1, 3, 4, 2), sizes=(1, 6, 8, 2), mode="linear", note="channels-last")
    yield _resize((1, 3, 4, 2), scales=(1, 2, 2, 1), mode="nearest", note="channels-last")
    for policy in ("not_larger", "not_smaller"):
        yield _resize((1, 2, 4, 6), sizes=(8, 12), mode="nearest", axes=[2, 3], keep_aspect_ratio_policy=policy)


def _pad(
    shape: Sequence[int], pads: Sequence[int], *rest: np.ndarray | None, mode: str, note: str = "", opset: int = 19
) -> OperatorCase:
    inputs = (ints(*shape), axes(*pads), *rest)
    moved = pads[0] or pads[len(pads) // 2]
    open_batch = mode == "constant" or not moved or len(rest) > 1
    note = "-".join(part for part in (",".join(map(str, pads)), note) if part)
    return OperatorCase("Pad", inputs, {"mode": mode}, note=note, step=1.0, opset=opset, open_batch=open_batch)


def _pads() -> Iterable[OperatorCase]:
    for mode in ("constant", "reflect", "edge", "wrap"):
        yield _pad((2, 3, 5, 4), (0, 0, 2, 1, 0, 0, 1, 3), mode=mode)
        yield _pad((2, 3, 5), (0, 1, 0, 0, 0, 2), mode=mode)
        yield _pad((2, 3, 5), (0, 0, -1, 0, 0, -2), mode=mode, note="cut")
        yield _pad((2, 4, 5), (0, -1, 2, 0, 2, -1), mode=mode, note="mixed")
        yield _pad((2, 3, 5), (0, 0, -2, 0, 0, 2), mode=mode, note="shifted")
        yield _pad((2, 3, 5), (0, 0, 0, 0, 0, 0), mode=mode, note="none")
        yield _pad((2, 3, 4), (1, 2), None, axes(2), mode=mode, note="one-axis")
        yield _pad((2, 3, 4), (1, 0, 1, 2), None, axes(-1, 1), mode=mode, note="two-axes")
    yield _pad((4, 3), (2, 0, 1, 0), mode="constant", note="rows")
    yield _pad((2, 3), (0, 1, 0, 2), np.array(5.0), mode="constant", note="value")
    yield _pad((2, 3), (0, 7, 0, 0), mode="wrap", note="twice-around")


RESAMPLING_CASES = (*_resizes(), *_pads())
