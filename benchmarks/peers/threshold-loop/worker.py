"""Boxes at every level as in the WSOL benchmark's code: 1,000 thresholds, 1,000 cuts (Choe et al. 2020)."""

from __future__ import annotations

import cv2
import numpy as np
from box_levels import THRESHOLDS, read_heatmap
from protocol import Method, serve


class Loop(Method):
    def prepare(self) -> None:
        cv2.setNumThreads(self.case["threads"])
        self.heatmap = read_heatmap(self.case["model"])

    def run(self) -> None:
        self.boxes = np.zeros((THRESHOLDS, 4))
        for index in range(THRESHOLDS):
            _, above = cv2.threshold(self.heatmap, int(255 * index / THRESHOLDS), 255, cv2.THRESH_BINARY)
            contours, _ = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
            every = [cv2.boundingRect(contour) for contour in contours]
            if every:
                areas = [cv2.contourArea(contour) for contour in contours]
                self.boxes[index] = every[int(np.argmax(areas))]

    def answer(self) -> np.ndarray:
        """The box of the largest contour at each threshold, x, y, width, height."""
        return self.boxes


serve("threshold-loop", packages=("opencv-python-headless", "numpy"), methods={"boxes": Loop})
