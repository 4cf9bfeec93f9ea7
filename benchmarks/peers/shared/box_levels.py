"""The heatmap for the cases that find boxes at every level."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

THRESHOLDS = 1000
SIZE_HW = (224, 224)


def read_heatmap(model: dict[str, Any]) -> np.ndarray:
    """uint8 (224, 224): a Grad-CAM after ReLU, enlarged, 255 at its peak."""
    grid = np.maximum(np.load(model["copies_maps"])[0], 0)
    enlarged = cv2.resize(grid, SIZE_HW, interpolation=cv2.INTER_CUBIC).clip(min=0)
    return (255 * enlarged / enlarged.max()).astype(np.uint8)
