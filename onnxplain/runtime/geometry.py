"""The exact mapping between the original image and the model's input.

Coordinates are continuous: pixel i covers [i, i + 1), its centre is i + 0.5, and an image H × W covers
[0, W] × [0, H]. Boxes are (x1, y1, x2, y2). Pixels, boxes and heatmaps all use the same `Frame`, so they agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from onnxplain.contract import CROP_SHARE, CellSpan, MapFrame, Resize
from onnxplain.contract.arguments import checked
from onnxplain.contract.expected import Listed, Number, Whole
from onnxplain.errors import OnnxplainError
from onnxplain.machine.small_products import LARGEST_PRODUCT, small_product
from onnxplain.runtime.arrays import FloatArray

# Coordinates are rounded to so many decimals: far finer than a pixel, far coarser than float64's error at 10^5 pixels.
_DECIMALS = 6
_LARGEST_AXIS = 2**24


@dataclass(frozen=True)
class Frame:
    """The map from an original image to the model's input: ``x_input = scale · x_image + offset`` per axis.

    `image_size_hw` and `input_size_hw` are in pixels; `scale_xy` and `offset_xy` hold the x axis first.
    Raises OnnxplainError for sizes or scales that are not positive.
    """

    image_size_hw: tuple[int, int]
    input_size_hw: tuple[int, int]
    scale_xy: tuple[float, float]
    offset_xy: tuple[float, float]

    def __post_init__(self) -> None:
        if min(*self.image_size_hw, *self.input_size_hw) < 1:
            raise OnnxplainError(
                f"frame: found image {self.image_size_hw}, input {self.input_size_hw}, expected sizes > 0"
            )
        if not all(math.isfinite(scale) and scale > 0 for scale in self.scale_xy):
            raise OnnxplainError(f"frame: found scale {self.scale_xy}, expected two positive numbers")

    @property
    def visible_xyxy(self) -> tuple[float, float, float, float]:
        """The part of the original image that the model sees, in pixels of the image.

        It is the whole image for stretch and letterbox, and the cropped part for crop.
        """
        (x1, x2), (y1, y2) = (self.visible_span(axis) for axis in (0, 1))
        return x1, y1, x2, y2

    def boxes_to_image(self, boxes_xyxy: npt.ArrayLike) -> FloatArray:
        """Boxes (M, 4) in pixels of the input → float32 (M, 4) in pixels of the image, clipped to it."""
        boxes = (self._boxes(boxes_xyxy) - self._tiled(self.offset_xy)) / self._tiled(self.scale_xy)
        height, width = self.image_size_hw
        clipped: FloatArray = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
        return clipped

    def boxes_to_input(self, boxes_xyxy: npt.ArrayLike) -> FloatArray:
        """Boxes (M, 4) in pixels of the image → float32 (M, 4) in pixels of the input, not clipped."""
        boxes = self._boxes(boxes_xyxy) * self._tiled(self.scale_xy) + self._tiled(self.offset_xy)
        return boxes.astype(np.float32)

    def map_to_image(self, map_hw: npt.NDArray[np.floating], map_frame: MapFrame | None = None) -> FloatArray:
        """A map (h, w) of the model's input → float32 (H, W) at the size of the original image.

        `map_frame`: where the map lies in the input; None: spread over the whole of it. Bilinear between the centres
        of the map's cells, edge cells replicated; 0 on pixels that lie wholly outside `visible_xyxy`, or outside the
        part of the input that the map sees. Separable, so it costs two small matrix products.
        """
        if map_hw.ndim != 2 or map_hw.size == 0:
            raise OnnxplainError(f"map: found shape {map_hw.shape}, expected (h, w)")
        rows, columns = _laying_matrices(self, map_hw.shape, map_frame)
        image_map: FloatArray = _product(_product(rows, map_hw.astype(np.float32)), columns.T)
        return image_map

    def map_to_input(self, map_hw: npt.NDArray[np.floating]) -> FloatArray:
        """A map (H, W) of the original image → float32 (h, w) in the frame of the model's input.

        Each input pixel is the mean over the part of the image that it covers, and 0 if it covers none (the borders of
        a letterbox). Raises OnnxplainError if the map and the image differ in size.
        """
        if map_hw.shape != self.image_size_hw:
            raise OnnxplainError(f"map: found shape {map_hw.shape}, expected the image size {self.image_size_hw}")
        columns, rows = (
            _coverage_matrix(self.input_size_hw[1 - axis], self.image_size_hw[1 - axis], scale, offset)
            for axis, (scale, offset) in enumerate(zip(self.scale_xy, self.offset_xy, strict=True))
        )
        input_map: FloatArray = rows @ map_hw.astype(np.float32) @ columns.T
        return input_map

    def visible_span(self, axis: int) -> tuple[float, float]:
        """Where the visible part begins and ends along an axis (0: x), in pixels of the image."""
        side, input_side = self.image_size_hw[1 - axis], self.input_size_hw[1 - axis]
        start = (0.0 - self.offset_xy[axis]) / self.scale_xy[axis]
        stop = (input_side - self.offset_xy[axis]) / self.scale_xy[axis]
        return round(min(max(start, 0.0), side), _DECIMALS), round(min(max(stop, 0.0), side), _DECIMALS)

    @staticmethod
    def _tiled(pair_xy: tuple[float, float]) -> npt.NDArray[np.float64]:
        return np.asarray([*pair_xy, *pair_xy], np.float64)

    @staticmethod
    def _boxes(boxes_xyxy: npt.ArrayLike) -> npt.NDArray[np.float64]:
        boxes = np.asarray(boxes_xyxy, np.float64)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise OnnxplainError(f"boxes: found shape {boxes.shape}, expected (M, 4) as x1, y1, x2, y2")
        return boxes


@checked
def bilinear_matrix(out_size: int, in_size: int, scale: float, offset: float) -> FloatArray:
    """Matrix (out_size, in_size) that resamples a signal along one axis by bilinear interpolation.

    Row i holds the weights of the input cells at the continuous coordinate ``scale · (i + 0.5) + offset``. `scale` and
    `offset` map an output coordinate to an input coordinate, each in its own pixels. Every row sums to 1. Coordinates
    outside take the edge cell. ``bilinear_matrix(W, w, w / W, 0) @ signal`` equals PyTorch's
    ``interpolate(mode="linear", align_corners=False)``. An image takes one matrix per axis: ``R @ image @ C.T``.
    Raises OnnxplainError for sizes below 1.
    """
    for name, size in (("out_size", out_size), ("in_size", in_size)):
        Whole(1, _LARGEST_AXIS).check(name, size)
    position = np.clip(scale * (np.arange(out_size) + 0.5) + offset - 0.5, 0, in_size - 1)
    left = np.minimum(position.astype(np.int64), max(in_size - 2, 0))
    right = np.minimum(left + 1, in_size - 1)
    share = position - left
    matrix = np.zeros((out_size, in_size), np.float32)
    rows = np.arange(out_size)
    matrix[rows, left] = 1 - share
    matrix[rows, right] += share
    return matrix


def spans_of(map_frame: MapFrame | None) -> tuple[CellSpan | None, CellSpan | None]:
    """Where the cells lie along height and width; None each where they are spread over the whole input."""
    return (None, None) if map_frame is None else (map_frame.rows, map_frame.columns)


def cell_matrix(
    out_size: int, to_input: tuple[float, float], cells: int, input_side: int, lies: CellSpan | None
) -> FloatArray:
    """Matrix (out_size, cells) that lays a map's cells over pixels along one axis, bilinear.

    `to_input`: scale and offset from the pixels to the model's input. `lies`: where the cells lie there; None: spread
    over the whole side. Pixels beyond the outermost centres take the edge cell, those outside what the map sees 0.
    """
    scale, offset = to_input
    if lies is None:
        per_pixel = cells / input_side
        return bilinear_matrix(out_size, cells, scale * per_pixel, offset * per_pixel)
    matrix = bilinear_matrix(out_size, cells, scale / lies.scale, (offset - lies.offset) / lies.scale)
    start, stop = (round((edge - offset) / scale, _DECIMALS) for edge in lies.seen)
    matrix[: max(math.floor(start), 0)] = 0
    matrix[max(math.ceil(stop), 0) :] = 0
    return matrix


@lru_cache(maxsize=4)
def _laying_matrices(
    frame: Frame, cells_hw: tuple[int, ...], map_frame: MapFrame | None
) -> tuple[FloatArray, FloatArray]:
    """The matrices (H, h) and (W, w) that lay a map over the image. Images of one size share them."""
    (height, width), (input_height, input_width) = frame.image_size_hw, frame.input_size_hw
    spans = spans_of(map_frame)
    to_y, to_x = zip(frame.scale_xy[::-1], frame.offset_xy[::-1], strict=True)
    rows = cell_matrix(height, to_y, cells_hw[0], input_height, spans[0])
    columns = cell_matrix(width, to_x, cells_hw[1], input_width, spans[1])
    # Rows and columns that the model never saw weigh nothing: the product is then 0 there by itself.
    for matrix, axis in ((columns, 0), (rows, 1)):
        start, stop = frame.visible_span(axis)
        matrix[: math.floor(start)] = 0
        matrix[math.ceil(stop) :] = 0
        matrix.setflags(write=False)
    return rows, columns


def _product(left: FloatArray, right: FloatArray) -> FloatArray:
    """``left @ right``, on the calling thread unless pieces of eight columns are too large for that."""
    product: FloatArray = small_product(left, right) if 8 * left.size <= LARGEST_PRODUCT else left @ right
    return product


def _coverage_matrix(input_side: int, image_side: int, scale: float, offset: float) -> FloatArray:
    """Matrix (input_side, image_side): the share of input pixel i that image pixel j covers, along one axis."""
    edges = (np.arange(input_side + 1) - offset) / scale
    pixels = np.arange(image_side)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: FloatArray = (overlap.clip(min=0) * scale).astype(np.float32)
    return shares


@checked
def make_frame(
    image_size_hw: tuple[int, int], input_size_hw: tuple[int, int], resize: Resize, crop_share: float = CROP_SHARE
) -> Frame:
    """The frame of an image for one of the contract's resize modes.

    ``crop``: the smallest scale at which both sides are at least input / `crop_share`, rounded down to whole pixels
    (for a square input the short side has this length), then the centre is cut out. ``stretch``: each axis is scaled
    separately. ``letterbox``: the largest scale at which the whole image fits, centred; ``letterbox-corner``: the same
    in the upper left corner. The scaled image has a whole number of pixels and lies on the input's pixel grid, so one
    resize makes the input, without a second interpolation. For ``crop``, sizes are rounded down and offsets of half a
    pixel are rounded to even, as in torchvision's ``Resize`` and ``CenterCrop``, so the pixels are the same. The frame
    holds the exact scale after this rounding, per axis.
    """
    for name, size_hw in (("image_size_hw", image_size_hw), ("input_size_hw", input_size_hw)):
        Listed(Whole(1), 2, least=2).check(name, size_hw)
    Number(positive=True, most=1).check("crop_share", crop_share)
    sides_xy, inputs_xy = image_size_hw[::-1], input_size_hw[::-1]
    ratios_xy = [input_side / side for input_side, side in zip(inputs_xy, sides_xy, strict=True)]
    if resize == "crop":
        # Whole pixels, as Resize(floor(size / share)) in timm and transformers; rounded first, for 224 / (224 / 235).
        goals_xy = [math.floor(round(input_side / crop_share, _DECIMALS)) for input_side in inputs_xy]
        scales_xy = [max(goal / side for goal, side in zip(goals_xy, sides_xy, strict=True))] * 2
    elif resize in ("letterbox", "letterbox-corner"):
        scales_xy = [min(ratios_xy)] * 2
    else:
        scales_xy = ratios_xy
    exact_xy = [round(scale * side, _DECIMALS) for scale, side in zip(scales_xy, sides_xy, strict=True)]
    resized_xy = [max(1, int(side) if resize == "crop" else round(side)) for side in exact_xy]
    margins_xy = [input_side - resized for input_side, resized in zip(inputs_xy, resized_xy, strict=True)]
    if resize == "letterbox-corner":
        margins_xy = [0, 0]
    offset_x, offset_y = (float(round(margin / 2) if resize == "crop" else margin // 2) for margin in margins_xy)
    scale_x, scale_y = (resized / side for resized, side in zip(resized_xy, sides_xy, strict=True))
    return Frame(image_size_hw, input_size_hw, (scale_x, scale_y), (offset_x, offset_y))
