"""Agreement between the maps of two tools, independent of their postprocessing."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np


def compare_maps(found: np.ndarray, reference: np.ndarray, tool: str) -> dict[str, Any]:
    """Correlation and largest relative difference of maps (h, w) or (N, h, w).

    If one has no negative values, the other is clipped at 0 too. Each map is divided by its largest absolute value, and
    the coarser one is enlarged bilinearly. Some tools do these steps themselves, others leave them to their users.
    """
    first, second = (np.asarray(array, np.float64).reshape(-1, *array.shape[-2:]) for array in (found, reference))
    if len(first) != len(second):
        raise ValueError(f"found {len(first)} maps, expected {len(second)} as {tool} has")
    if first.min() >= 0 or second.min() >= 0:
        first, second = np.maximum(first, 0), np.maximum(second, 0)
    first, second = enlarge(divide_by_peak(first), second.shape), enlarge(divide_by_peak(second), first.shape)
    return {
        "with": tool,
        "correlation": correlate(first, second),
        "max_relative_difference": float(np.abs(first - second).max() / max(np.abs(second).max(), 1e-30)),
    }


def correlate(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation over all pixels; 0 if a map is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def divide_by_peak(maps_nhw: np.ndarray) -> np.ndarray:
    peaks = np.abs(maps_nhw).max(axis=(1, 2), keepdims=True)
    return maps_nhw / np.where(peaks > 0, peaks, 1)


def enlarge(maps_nhw: np.ndarray, shape_nhw: tuple[int, ...]) -> np.ndarray:
    """Enlarge the maps to `shape_nhw` if that is larger."""
    height, width = shape_nhw[1:]
    if maps_nhw.shape[1] >= height and maps_nhw.shape[2] >= width:
        return maps_nhw
    return np.stack([cv2.resize(entry, (width, height), interpolation=cv2.INTER_LINEAR) for entry in maps_nhw])
