"""A quadtree: rectangles that are small where an image has detail and large where it has none."""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.arrays import FloatArray


def split_by_detail(pixels_chw: FloatArray, count: int) -> npt.NDArray[np.int64]:
    """At most `count` rectangles of an image, float32 (C, h, w): labels, int64 (h, w).

    The rectangle with the largest sum of squared deviations from its mean colour is cut into four (into two where one
    side is a pixel), until four more would be too many or nothing is left to cut. An image without detail is cut
    largest rectangle first.
    """
    height, width = pixels_chw.shape[1:]
    tables = [np.pad(part.cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0))) for part in _powers(pixels_chw)]
    # The largest detail first, then the largest area, then the first in reading order.
    found = [(0.0, 0, 0, 0, height, width)]
    done: list[tuple[int, int, int, int]] = []
    while found:
        _, _, y1, x1, y2, x2 = heapq.heappop(found)
        parts = [(top, left, bottom, right) for top, bottom in _halves(y1, y2) for left, right in _halves(x1, x2)]
        if len(parts) == 1 or len(done) + len(found) + len(parts) > count:
            done.append((y1, x1, y2, x2))
            continue
        for top, left, bottom, right in parts:
            detail = _detail(tables, top, left, bottom, right)
            heapq.heappush(found, (-detail, -(bottom - top) * (right - left), top, left, bottom, right))
    labels = np.empty((height, width), np.int64)
    for label, (y1, x1, y2, x2) in enumerate(sorted(done)):
        labels[y1:y2, x1:x2] = label
    return labels


def _powers(pixels_chw: FloatArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    centred = pixels_chw.astype(np.float64) - pixels_chw.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    return centred, centred**2


def _halves(start: int, stop: int) -> list[tuple[int, int]]:
    middle = (start + stop) // 2
    return [(start, stop)] if stop - start < 2 else [(start, middle), (middle, stop)]


def _detail(tables: list[npt.NDArray[np.float64]], y1: int, x1: int, y2: int, x2: int) -> float:
    """The sum over pixels and channels of (value − mean)², rounded so that rounding decides nothing."""
    first, second = (table[:, y2, x2] - table[:, y1, x2] - table[:, y2, x1] + table[:, y1, x1] for table in tables)
    return round(float((second - first**2 / ((y2 - y1) * (x2 - x1))).sum()), 6)
