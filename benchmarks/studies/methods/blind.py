"""Maps that do not see the model: what an explanation has to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from onnxplain.evaluation.metrics.baselines import center_gaussian

# Smoothing of maps made from pixels, as a share of the shorter side.
SMOOTHING = 0.05
CELLS = 8


def centre(image_hwc: np.ndarray, number: int) -> np.ndarray:
    """A Gaussian in the middle."""
    return center_gaussian((image_hwc.shape[0], image_hwc.shape[1]))


def edges(image_hwc: np.ndarray, number: int) -> np.ndarray:
    """Length of the Sobel gradient of the grey image, smoothed."""
    grey = cv2.cvtColor(image_hwc, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return _smooth(np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)))


def colour(image_hwc: np.ndarray, number: int) -> np.ndarray:
    """Distance of each pixel's colour from the mean colour of the image, smoothed."""
    apart = image_hwc.astype(np.float32) - image_hwc.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    return _smooth(np.linalg.norm(apart, axis=2))


def noise(image_hwc: np.ndarray, number: int) -> np.ndarray:
    """A random number for each pixel."""
    return np.random.default_rng(number).random(image_hwc.shape[:2], np.float32)


def coarse_noise(image_hwc: np.ndarray, number: int) -> np.ndarray:
    """A random number for each of 8 × 8 cells, bilinear between them."""
    cells = np.random.default_rng(number).random((CELLS, CELLS), np.float32)
    return np.clip(cv2.resize(cells, image_hwc.shape[1::-1], interpolation=cv2.INTER_LINEAR), 0, 1)


BLIND: Mapping[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "centre": centre,
    "edges": edges,
    "colour": colour,
    "noise": noise,
    "coarse noise": coarse_noise,
}
"""Image uint8 (H, W, 3) and the number of the question → float32 (H, W) in [0, 1]."""


def _smooth(values_hw: np.ndarray) -> np.ndarray:
    smoothed = cv2.GaussianBlur(values_hw, (0, 0), SMOOTHING * min(values_hw.shape))
    return smoothed / max(float(smoothed.max()), 1e-9)
