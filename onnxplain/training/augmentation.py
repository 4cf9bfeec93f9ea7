"""Augmentation that moves the box with the image: zoom, shift, mirror, colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.contract import LETTERBOX_GREY
from onnxplain.errors import OnnxplainError

_TRIES = 10
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class PhotoView:
    """The part of an image that one training step sees, in the size of the image: ``x_view = scale · x_image + offset``
    per axis in continuous pixels (pixel i covers [i, i + 1)), then mirrored if `mirrored`."""

    scale_xy: tuple[float, float] = (1.0, 1.0)
    offset_xy: tuple[float, float] = (0.0, 0.0)
    mirrored: bool = False

    def move_image(self, image_hwc: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The view of an image (H, W, C), uint8 of the same size; grey outside the image."""
        (scale_x, scale_y), (offset_x, offset_y) = self.scale_xy, self.offset_xy
        # OpenCV counts from the centre of the first pixel, so half a pixel is added and subtracted.
        matrix = np.array(
            [[scale_x, 0, offset_x + (scale_x - 1) / 2], [0, scale_y, offset_y + (scale_y - 1) / 2]], np.float64
        )
        size_xy = (image_hwc.shape[1], image_hwc.shape[0])
        border = (LETTERBOX_GREY,) * 3
        moved = cv2.warpAffine(image_hwc, matrix, size_xy, flags=cv2.INTER_LINEAR, borderValue=border)
        if self.mirrored:
            moved = moved[:, ::-1]
        result: npt.NDArray[np.uint8] = np.ascontiguousarray(moved, np.uint8)
        return result

    def move_box(self, box_xyxy: npt.NDArray[np.float32], size_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
        """A box (4,) in pixels of the image → in pixels of the view, clipped to it."""
        edges = np.array([size_hw[1], size_hw[0]] * 2, np.float32)
        moved = box_xyxy * np.array(self.scale_xy * 2, np.float32) + np.array(self.offset_xy * 2, np.float32)
        if self.mirrored:
            moved[[0, 2]] = edges[0] - moved[[2, 0]]
        clipped: npt.NDArray[np.float32] = np.clip(moved, 0, edges)
        return clipped


@dataclass(frozen=True)
class Augmentation:
    """How much views may differ from their images.

    `zoom`: smallest and largest scale, drawn uniformly in its logarithm; each axis differs from it by a factor of up to
    `aspect`. The shift is uniform over all places where the image covers the view, or the view covers the image.
    `visible`: the share of the object's area that a view must keep, if a box is known. `mirror`: swap left and right
    with probability 0.5. `colour`: brightness, contrast and saturation change by up to this share. Raises
    OnnxplainError for values outside these ranges.
    """

    zoom: tuple[float, float] = (0.7, 1.6)
    aspect: float = 1.2
    visible: float = 0.8
    mirror: bool = True
    colour: float = 0.3

    def __post_init__(self) -> None:
        ordered = 0 < self.zoom[0] <= self.zoom[1] and self.aspect >= 1
        if not ordered or not 0 <= self.visible <= 1 or not 0 <= self.colour < 1:
            raise OnnxplainError(
                f"{self}: expected 0 < zoom[0] <= zoom[1], aspect of at least 1, visible in [0, 1], colour in [0, 1)"
            )

    def draw_view(
        self, rng: np.random.Generator, size_hw: tuple[int, int], box_xyxy: npt.NDArray[np.float32] | None = None
    ) -> PhotoView:
        """A random view of an image. If ten random views all cut off too much of the box, (4,) in pixels of the image,
        the whole image, possibly mirrored."""
        mirrored = self.mirror and bool(rng.random() < 0.5)
        sides_xy = np.array(size_hw[::-1], np.float64)
        for _ in range(_TRIES):
            zoom = np.exp(rng.uniform(*np.log(self.zoom)))
            scale_xy = zoom * np.exp(np.array([1, -1]) * rng.uniform(-1, 1) * np.log(self.aspect))
            offset_xy = rng.random(2) * (1 - scale_xy) * sides_xy
            view = PhotoView(
                (float(scale_xy[0]), float(scale_xy[1])), (float(offset_xy[0]), float(offset_xy[1])), mirrored
            )
            if box_xyxy is None or self._keeps(view, box_xyxy, size_hw):
                return view
        return PhotoView(mirrored=mirrored)

    def draw_colours(self, rng: np.random.Generator, image_hwc: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The image (H, W, 3), uint8, with random brightness, contrast and saturation."""
        brightness, contrast, saturation = 1 + rng.uniform(-self.colour, self.colour, 3).astype(np.float32)
        image = image_hwc * brightness
        mean = image.mean(dtype=np.float64).astype(np.float32)
        grey_hw1 = (image @ _LUMA)[:, :, None]
        image = mean + contrast * (grey_hw1 + saturation * (image - grey_hw1) - mean)
        result: npt.NDArray[np.uint8] = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        return result

    def _keeps(self, view: PhotoView, box_xyxy: npt.NDArray[np.float32], size_hw: tuple[int, int]) -> bool:
        kept = view.move_box(box_xyxy, size_hw)
        whole = np.prod(box_xyxy[2:] - box_xyxy[:2]) * view.scale_xy[0] * view.scale_xy[1]
        return bool(np.prod(kept[2:] - kept[:2]) >= self.visible * whole)
