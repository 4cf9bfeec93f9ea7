"""Preprocessing: warp an image, normalise it, and convert it to the model's layout and type."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.contract import LETTERBOX_GREY, Layout, Preprocessing
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import ByteArray, FloatArray
from onnxplain.runtime.geometry import Frame, bilinear_matrix

# A scaled image larger than this many times the input's area is never made as a whole: an image of 1 × 10,000 pixels
# would become 256 × 2,560,000 pixels.
_MAX_ENLARGED_AREAS = 16


def warp_image(image_hwc: ByteArray, frame: Frame, border: int = LETTERBOX_GREY) -> ByteArray:
    """The part of an image that a frame shows to the model, uint8 (h, w, 3) at the size of the model's input.

    Shrinking averages areas, enlarging interpolates linearly, each axis separately. Pixels whose centre lies outside
    the image get the value `border` (0–255, all channels). Raises OnnxplainError if the frame was made for an image of
    another size.
    """
    if image_hwc.shape[:2] != frame.image_size_hw:
        raise OnnxplainError(
            f"frame: found an image of {image_hwc.shape[:2]}, expected {frame.image_size_hw}: make another frame"
        )
    sides_xy, inputs_xy = frame.image_size_hw[::-1], frame.input_size_hw[::-1]
    scaled_xy = [scale * side for scale, side in zip(frame.scale_xy, sides_xy, strict=True)]
    width, height = (max(1, round(scaled)) for scaled in scaled_xy)
    shrunk_xy = (min(width, sides_xy[0]), min(height, sides_xy[1]))
    # INTER_AREA averages only if no axis grows, so the axes that shrink are resized first, without the others.
    shrunk = _resize(_halve(image_hwc, shrunk_xy), shrunk_xy, cv2.INTER_AREA)

    enlarges = shrunk_xy != (width, height)
    on_grid = all(math.isclose(number, round(number), abs_tol=1e-6) for number in (*scaled_xy, *frame.offset_xy))
    if on_grid and not (enlarges and width * height > _MAX_ENLARGED_AREAS * math.prod(inputs_xy)):
        scaled = _resize(shrunk, (width, height), cv2.INTER_LINEAR)
        return _place(scaled, frame, border)
    return _sample(shrunk, frame, border)


def normalise(images_nhwc: ByteArray, preprocessing: Preprocessing) -> FloatArray:
    """RGB images uint8 (N, H, W, 3) → float32 (N, C, H, W): ``(pixel · scale − mean) / std``.

    The preprocessing sets the order of the channels; ``gray`` is the luma of ITU-R BT.601, C = 1.
    """
    if images_nhwc.ndim != 4 or images_nhwc.shape[3] != 3 or images_nhwc.dtype != np.uint8:
        raise OnnxplainError(
            f"images: found {images_nhwc.dtype} {images_nhwc.shape}, expected uint8 (N, H, W, 3) in RGB order"
        )
    if preprocessing.channels == "bgr":
        images_nhwc = images_nhwc[..., ::-1]
    elif preprocessing.channels == "gray":
        count, height, width, _ = images_nhwc.shape
        luma = cv2.cvtColor(images_nhwc.reshape(count * height, width, 3), cv2.COLOR_RGB2GRAY)
        images_nhwc = luma.reshape(count, height, width, 1).astype(np.uint8, copy=False)
    std = np.asarray(preprocessing.std)
    factor = (preprocessing.scale / std).astype(np.float32)[:, None, None]
    shift = (np.asarray(preprocessing.mean) / std).astype(np.float32)[:, None, None]
    batch_nchw = np.ascontiguousarray(images_nhwc.transpose(0, 3, 1, 2), np.float32)
    batch_nchw *= factor
    batch_nchw -= shift
    return batch_nchw


def to_model(batch_nchw: FloatArray, layout: Layout, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """A batch (N, C, H, W) in the session's layout and type. For uint8, values are rounded and clipped."""
    batch: npt.NDArray[np.generic] = batch_nchw.transpose(0, 2, 3, 1) if layout == "nhwc" else batch_nchw
    if np.dtype(dtype) == np.uint8:
        batch = np.clip(np.rint(batch.astype(np.float32, copy=False)), 0, 255)
    return np.ascontiguousarray(batch, dtype)


def _halve(image_hwc: ByteArray, goal_xy: tuple[int, int]) -> ByteArray:
    """Halve an image, by means of 2 × 2 pixels, while the goal is at least four times smaller.

    This also averages areas, but ten times as fast. A factor of at least 2 is left to the exact average, like the
    default gap of Pillow's `Image.thumbnail`.
    """
    size_xy = (image_hwc.shape[1], image_hwc.shape[0])
    while all(side % 2 == 0 and side >= 4 * goal for side, goal in zip(size_xy, goal_xy, strict=True)):
        size_xy = (size_xy[0] // 2, size_xy[1] // 2)
        image_hwc = _resize(image_hwc, size_xy, cv2.INTER_AREA)
    return image_hwc


def _resize(image_hwc: ByteArray, size_xy: tuple[int, int], interpolation: int) -> ByteArray:
    if image_hwc.shape[1::-1] == size_xy:
        return image_hwc
    return cv2.resize(image_hwc, size_xy, interpolation=interpolation).astype(np.uint8, copy=False)


def _place(scaled_hwc: ByteArray, frame: Frame, border: int) -> ByteArray:
    """Place the scaled image on the input at whole pixels: cut off what lies outside, fill the rest with `border`."""
    canvas = np.full((*frame.input_size_hw, scaled_hwc.shape[2]), border, np.uint8)
    source, destination = [], []
    for axis in (1, 0):
        offset = round(frame.offset_xy[axis])
        start, stop = max(0, -offset), frame.input_size_hw[1 - axis] - offset
        source.append(slice(start, max(start, min(stop, scaled_hwc.shape[1 - axis]))))
        destination.append(slice(start + offset, source[-1].stop + offset))
    canvas[destination[0], destination[1]] = scaled_hwc[source[0], source[1]]
    return canvas


def _sample(shrunk_hwc: ByteArray, frame: Frame, border: int) -> ByteArray:
    """Sample the input bilinearly at the frame's exact coordinates, from the visible part of the image only."""
    matrices, parts, inside = [], [], []
    for axis in (1, 0):
        side, input_side = shrunk_hwc.shape[1 - axis], frame.input_size_hw[1 - axis]
        scale = frame.scale_xy[axis] * frame.image_size_hw[1 - axis] / side
        offset = frame.offset_xy[axis]
        first = min(max(math.floor(-offset / scale) - 1, 0), side - 1)
        last = min(max(math.ceil((input_side - offset) / scale) + 1, first + 1), side)
        matrices.append(bilinear_matrix(input_side, last - first, 1 / scale, -offset / scale - first))
        parts.append(slice(first, last))
        centre = (np.arange(input_side) + 0.5 - offset) / scale
        inside.append((centre >= 0) & (centre <= side))
    part = shrunk_hwc[parts[0], parts[1]].astype(np.float32)
    sampled = np.einsum("yi,ijc,xj->yxc", matrices[0], part, matrices[1], optimize=True)
    sampled[~np.logical_and.outer(*inside)] = border
    pixels: ByteArray = np.rint(sampled).astype(np.uint8)
    return pixels
