"""Preprocessing: warp an image, normalise it, and convert it to the model's layout and type."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.contract import LETTERBOX_GREY, InputSpec, Layout, Preprocessing, Quantization, batched, is_batched
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.geometry import Frame, bilinear_matrix, make_frame
from onnxplain.runtime.images.prepared import PreparedImage

# A scaled image larger than this many times the input's area is never made as a whole: an image of 1 × 10,000 pixels
# would become 256 × 2,560,000 pixels.
_MAX_ENLARGED_AREAS = 16
# OpenCV's average over areas takes no more at once.
_MOST_CHANNELS = 4


def prepare_pixels(pixels_hwc: AnyArray, model: InputSpec) -> PreparedImage:
    """An image (H, W, C), as `read_pixels` returns it, warped and normalised for a model with this input."""
    size_hw, preprocessing = (pixels_hwc.shape[0], pixels_hwc.shape[1]), model.preprocessing
    frame = make_frame(size_hw, model.size_hw, preprocessing.resize, preprocessing.crop_share)
    warped = warp_image(pixels_hwc, frame)
    return PreparedImage(pixels_hwc, frame, normalise(warped[None], preprocessing)[0], preprocessing)


def warp_image(image_hwc: AnyArray, frame: Frame, border: int | None = None) -> AnyArray:
    """The part of an image that a frame shows to the model, (h, w, C) at the size of the model's input.

    The image is uint8 or float32 (H, W, C), and the result is of the same type. Shrinking averages areas, enlarging
    interpolates linearly, each axis separately. Pixels whose centre lies outside the image get the value `border` in
    all channels, by default 114 for uint8 and 0 for float32. Raises OnnxplainError if the frame was made for an image
    of another size.
    """
    if border is None:
        border = LETTERBOX_GREY if image_hwc.dtype == np.uint8 else 0
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


def normalise(images_nhwc: AnyArray, preprocessing: Preprocessing) -> FloatArray:
    """Images (N, H, W, C) → float32 (N, C, H, W): ``(pixel · scale − mean) / std``.

    Images are as `read_pixels` returns them: uint8, or float32 for native pixels; RGB for colours, else the model's
    channels. The preprocessing sets the order of the channels; ``gray`` is the luma of ITU-R BT.601, C = 1.
    """
    dtype = np.uint8 if preprocessing.pixels == "bytes" else np.float32
    counts = {3, preprocessing.channel_count} if preprocessing.is_colour else {preprocessing.channel_count}
    if images_nhwc.ndim != 4 or images_nhwc.shape[3] not in counts or images_nhwc.dtype != dtype:
        expected = "3) in RGB order" if preprocessing.is_colour else f"{preprocessing.channel_count})"
        raise OnnxplainError(
            f"images: found {images_nhwc.dtype} {images_nhwc.shape}, expected {np.dtype(dtype)} (N, H, W, {expected}"
        )
    if preprocessing.channels == "bgr":
        images_nhwc = images_nhwc[..., ::-1]
    elif preprocessing.channels == "gray" and images_nhwc.shape[3] == 3:
        count, height, width, _ = images_nhwc.shape
        luma = cv2.cvtColor(images_nhwc.reshape(count * height, width, 3), cv2.COLOR_RGB2GRAY)
        images_nhwc = luma.reshape(count, height, width, 1).astype(dtype, copy=False)
    std = np.asarray(preprocessing.std)
    factor = (preprocessing.scale / std).astype(np.float32)[:, None, None]
    shift = (np.asarray(preprocessing.mean) / std).astype(np.float32)[:, None, None]
    batch_nchw = np.ascontiguousarray(images_nhwc.transpose(0, 3, 1, 2), np.float32)
    batch_nchw *= factor
    batch_nchw -= shift
    return batch_nchw


def to_model(
    batch_nchw: FloatArray, layout: Layout, dtype: npt.DTypeLike, quantization: Quantization | None = None
) -> npt.NDArray[np.generic]:
    """A batch (N, C, H, W) in the session's layout and type. For integers, values are rounded and clipped.

    With a `quantization` the batch holds real values, and the model is fed q = round(real / scale) + zero point. A
    layout without a batch axis takes one image, N = 1.
    """
    batch: AnyArray = batch_nchw.transpose(0, 2, 3, 1) if batched(layout) == "nhwc" else batch_nchw
    if not is_batched(layout):
        (batch,) = batch
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(np.dtype(dtype))
        scale, zero_point = (1.0, 0) if quantization is None else (quantization.scale, quantization.zero_point)
        rounded = np.rint(batch.astype(np.float32, copy=False) / np.float32(scale)) + np.float32(zero_point)
        batch = np.clip(rounded, limits.min, limits.max)
    return np.ascontiguousarray(batch, dtype)


def _halve(image_hwc: AnyArray, goal_xy: tuple[int, int]) -> AnyArray:
    """Halve an image, by means of 2 × 2 pixels, while the goal is at least four times smaller.

    This also averages areas, but ten times as fast. A factor of at least 2 is left to the exact average, like the
    default gap of Pillow's `Image.thumbnail`.
    """
    size_xy = (image_hwc.shape[1], image_hwc.shape[0])
    while all(side % 2 == 0 and side >= 4 * goal for side, goal in zip(size_xy, goal_xy, strict=True)):
        size_xy = (size_xy[0] // 2, size_xy[1] // 2)
        image_hwc = _resize(image_hwc, size_xy, cv2.INTER_AREA)
    return image_hwc


def _resize(image_hwc: AnyArray, size_xy: tuple[int, int], interpolation: int) -> AnyArray:
    if image_hwc.shape[1::-1] == size_xy:
        return image_hwc
    channels = image_hwc.shape[2]
    parts = [image_hwc]
    if channels > _MOST_CHANNELS:
        starts = range(0, channels, _MOST_CHANNELS)
        parts = [np.ascontiguousarray(image_hwc[..., start : start + _MOST_CHANNELS]) for start in starts]
    resized = [cv2.resize(part, size_xy, interpolation=interpolation) for part in parts]
    # OpenCV drops the axis of a single channel.
    whole = np.concatenate([np.atleast_3d(part) for part in resized], axis=2) if len(parts) > 1 else resized[0]
    pixels: AnyArray = whole.reshape(size_xy[1], size_xy[0], channels).astype(image_hwc.dtype, copy=False)
    return pixels


def _place(scaled_hwc: AnyArray, frame: Frame, border: int) -> AnyArray:
    """Place the scaled image on the input at whole pixels: cut off what lies outside, fill the rest with `border`."""
    canvas = np.full((*frame.input_size_hw, scaled_hwc.shape[2]), border, scaled_hwc.dtype)
    source, destination = [], []
    for axis in (1, 0):
        offset = round(frame.offset_xy[axis])
        start, stop = max(0, -offset), frame.input_size_hw[1 - axis] - offset
        source.append(slice(start, max(start, min(stop, scaled_hwc.shape[1 - axis]))))
        destination.append(slice(start + offset, source[-1].stop + offset))
    canvas[destination[0], destination[1]] = scaled_hwc[source[0], source[1]]
    return canvas


def _sample(shrunk_hwc: AnyArray, frame: Frame, border: int) -> AnyArray:
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
    return as_type_of(shrunk_hwc, sampled)


def as_type_of(pixels: AnyArray, values: npt.NDArray[np.floating]) -> AnyArray:
    """Computed values in the type of the pixels that they come from: rounded for uint8."""
    return (np.rint(values) if pixels.dtype == np.uint8 else values).astype(pixels.dtype)
