"""Colours: OpenCV's colour maps, and heat laid over a photo."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import cv2
import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.picture_defaults import DEFAULT_ALPHA, DEFAULT_COLORMAP
from onnxplain.runtime.arrays import ByteArray, FloatArray
from onnxplain.runtime.image import bands

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)

COLORMAPS: Mapping[str, int] = {
    name.removeprefix("COLORMAP_").lower(): getattr(cv2, name)
    for name in sorted(dir(cv2))
    if name.startswith("COLORMAP_")
}


def colourise(heatmap_hw: FloatArray, colormap: str = DEFAULT_COLORMAP) -> ByteArray:
    """Heat in [0, 1] → uint8 (H, W, 3) RGB with one of OpenCV's colormaps.

    Raises OnnxplainError for an unknown colormap; the message lists all.
    """
    if colormap not in COLORMAPS:
        near = difflib.get_close_matches(colormap, COLORMAPS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise OnnxplainError(f"colormap: found {colormap!r}{hint}, expected one of {', '.join(COLORMAPS)}")
    # The palette is applied here because OpenCV divides by zero on a map without pixels.
    palette_bgr = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], COLORMAPS[colormap])
    palette: ByteArray = palette_bgr[:, 0, ::-1].astype(np.uint8, copy=False)
    return palette[np.rint(np.clip(heatmap_hw, 0, 1) * 255).astype(np.uint8)]


def opacity_of(heat: FloatArray, alpha: float) -> FloatArray:
    """The opacity of heat in [0, 1]: 0 for no heat, `alpha` for the most, in proportion between them."""
    opacity: FloatArray = heat.astype(np.float32) * np.float32(alpha)
    return opacity


def blend(
    image_hwc: ByteArray,
    heatmap_hw: FloatArray,
    colormap: str = DEFAULT_COLORMAP,
    alpha: float = DEFAULT_ALPHA,
    window: tuple[slice, slice] = (slice(None), slice(None)),
) -> ByteArray:
    """``(1 − a) · image + a · colour(heat)`` inside `window` (rows, columns), the unchanged image outside.

    The opacity a follows the heat (`opacity_of`), so that a pixel without heat does not change. Both are uint8 RGB as
    displayed: no gamma correction, no contrast stretch. Raises OnnxplainError for different sizes, an unknown colormap,
    or an alpha outside [0, 1].
    """
    if image_hwc.shape[:2] != heatmap_hw.shape:
        raise OnnxplainError(
            f"overlay: found an image of {image_hwc.shape[:2]} for a heatmap of {heatmap_hw.shape}, "
            "expected the image that was explained"
        )
    if not 0 <= alpha <= 1:
        raise OnnxplainError(f"alpha: found {alpha}, expected a share from 0 (image only) to 1 (heat only)")
    colourise(np.zeros((1, 1), np.float32), colormap)
    blended = image_hwc.copy()
    inside, heat = blended[window], heatmap_hw[window]
    for rows in bands(*heat.shape):
        colours, opacity = colourise(heat[rows], colormap).astype(np.float32), opacity_of(heat[rows], alpha)[..., None]
        inside[rows] = np.rint(inside[rows] * (1 - opacity) + colours * opacity).astype(np.uint8)
    return blended


def contrast(colour: Colour) -> Colour:
    """Black or white, whichever can be read on the colour."""
    red, green, blue = colour
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else WHITE
