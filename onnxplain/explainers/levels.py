"""Threshold an 8-bit map at each of its levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

LEVELS = 255
"""The number of cuts of an 8-bit map: above 0, above 1, … above 254."""

Contour = npt.NDArray[np.integer | np.floating]


def cut_at_levels(map_hw: npt.NDArray[np.uint8]) -> Iterator[tuple[range, Sequence[Contour]]]:
    """Cut a uint8 map (H, W) above each level 0…254, lowest first. Levels with the same result are one cut.

    Yields a range of levels, and the contours of the pixels above them, int32 (P, 1, 2) as x, y. The contours are the
    outlines of 8-connected regions and of their holes, in the order of ``cv2.findContours`` (RETR_TREE,
    CHAIN_APPROX_SIMPLE). The ranges cover 0…254. At and above the map's maximum there is no contour.
    """
    present = np.unique(map_hw).tolist()
    for start, stop in pairwise([0, *(level for level in present if 0 < level < LEVELS), LEVELS]):
        _, above = cv2.threshold(map_hw, start, 255, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        yield range(start, stop), contours


def largest_contour(contours: Sequence[Contour]) -> Contour:
    """The contour with the largest area inside its outline; the first one if several are equal."""
    return contours[0] if len(contours) == 1 else max(contours, key=cv2.contourArea)
