"""Inpainting: what a mask hides is filled in from what it shows, anew for every mask."""

from __future__ import annotations

import cv2
import numpy as np

from onnxplain.runtime.arrays import FloatArray

# Pixels around a hidden one that are looked at: OpenCV's usual number.
_RADIUS = 3


def inpaint(pixels_chw: FloatArray, empty: FloatArray, mask_hw: FloatArray) -> FloatArray:
    """The image, float32 (C, H, W), with everything that the mask hides filled in by fluid flow (Bertalmio
    et al. 2001).

    A pixel is hidden where the mask, float32 (H, W), is below a half. Channels are filled in one by one, so they may
    have any number and any unit. `empty`, (C, 1, 1) or (C, H, W): what is shown where a mask hides the whole image.
    """
    hidden = (mask_hw < 0.5).astype(np.uint8)
    if not hidden.any():
        return pixels_chw
    if hidden.all():
        return np.broadcast_to(empty, pixels_chw.shape)
    return np.stack([cv2.inpaint(channel, hidden, _RADIUS, cv2.INPAINT_NS) for channel in pixels_chw])
