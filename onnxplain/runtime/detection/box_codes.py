"""How numbers become corners: one function per box code. Each takes raw numbers (K, W) and the candidates' cells.

All return corners float32 (K, 4) x1, y1, x2, y2, in the units of the layout: pixels of the input, or shares of its
sides where the layout is `normalized`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from onnxplain.contract.detectors.layout import BoxCode
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.detection.cells import Cells
from onnxplain.runtime.scores import sigmoid


@dataclass(frozen=True, eq=False)
class RawBoxes:
    """The raw numbers of some candidates, float32 (K, W), their cells, and where in its cell a candidate lies.

    `cells` is None for codes that need none. `centre`: 0 is the cell's upper left corner, 0.5 its centre.
    """

    numbers: FloatArray
    cells: Cells | None = None
    centre: float = 0.0

    @property
    def known_cells(self) -> Cells:
        """The cells. Raises ValueError where the layout has none."""
        if self.cells is None:
            raise ValueError("this box code needs cells")
        return self.cells


def from_corners(raw: RawBoxes) -> FloatArray:
    """x1, y1, x2, y2."""
    return raw.numbers


def from_corners_yx(raw: RawBoxes) -> FloatArray:
    """y1, x1, y2, x2 (TensorFlow object detection API, `detection_boxes`)."""
    return raw.numbers[:, [1, 0, 3, 2]]


def from_centre(raw: RawBoxes) -> FloatArray:
    """cx, cy, w, h."""
    return _around(raw.numbers[:, :2], raw.numbers[:, 2:4])


def from_grid_exp(raw: RawBoxes) -> FloatArray:
    """cx = (column + x) · s, w = exp(w) · s (Ge et al. 2021, YOLOX; YuNet: OpenCV's FaceDetectorYN)."""
    cells = raw.known_cells
    stride = cells.stride[:, None]
    corner = np.stack([cells.column, cells.row], axis=1)
    return _around((raw.numbers[:, :2] + corner) * stride, np.exp(raw.numbers[:, 2:4]) * stride)


def from_ltrb_bins(raw: RawBoxes) -> FloatArray:
    """Distances to the left, upper, right and lower side, each the mean of a softmax over bins 0, 1, 2 …, times s.

    Distribution focal loss (Li et al. 2020, "Generalized Focal Loss", equation 4). They are measured from the centre of
    the cell in NanoDet, from its corner in NanoDet-Plus (RangiLyu/nanodet, `get_single_level_center_priors`).
    """
    cells, count = raw.known_cells, len(raw.numbers)
    bins = raw.numbers.reshape(count, 4, raw.numbers.shape[1] // 4)
    weights = np.exp(bins - bins.max(axis=2, keepdims=True))
    mean = (weights @ np.arange(bins.shape[2], dtype=np.float32)) / weights.sum(axis=2)
    distances = mean * cells.stride[:, None]
    origin = (np.stack([cells.column, cells.row], axis=1) + np.float32(raw.centre)) * cells.stride[:, None]
    corners: FloatArray = np.concatenate([origin - distances[:, :2], origin + distances[:, 2:]], axis=1)
    return corners


def from_tanh_grid(raw: RawBoxes) -> FloatArray:
    """cx = (tanh(x) + column) / columns, w = sigmoid(w) (FastestDet, `handle_preds` in utils/tool.py)."""
    cells = raw.known_cells
    corner, counts = np.stack([cells.column, cells.row], axis=1), np.stack([cells.across, cells.down], axis=1)
    return _around((np.tanh(raw.numbers[:, :2]) + corner) / counts, sigmoid(raw.numbers[:, 2:4]))


def from_anchor_offset(raw: RawBoxes) -> FloatArray:
    """cx = x + (column + 0.5) · s, w = w, in pixels of the input.

    MediaPipe's anchors of a fixed size: `SsdAnchorsCalculator` with fixed_anchor_size, and
    `TensorsToDetectionsCalculator` with x_scale = y_scale = w_scale = h_scale = side of the input.
    """
    cells = raw.known_cells
    centre = (np.stack([cells.column, cells.row], axis=1) + np.float32(raw.centre)) * cells.stride[:, None]
    return _around(raw.numbers[:, :2] + centre, raw.numbers[:, 2:4])


BOX_CODES: Mapping[BoxCode, Callable[[RawBoxes], FloatArray]] = {
    "xyxy": from_corners,
    "yxyx": from_corners_yx,
    "cxcywh": from_centre,
    "grid-exp": from_grid_exp,
    "ltrb-bins": from_ltrb_bins,
    "tanh-grid": from_tanh_grid,
    "anchor-offset": from_anchor_offset,
}
"""By name."""


def _around(centre: FloatArray, size: FloatArray) -> FloatArray:
    """The corners of boxes from their centres and sizes, (K, 2) each."""
    half = size / 2
    corners: FloatArray = np.concatenate([centre - half, centre + half], axis=1)
    return corners
