"""One sparse matrix that warps a fine heatmap like each copy and downsamples it to the cells of the layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.augmented.random_copies import Transforms
from onnxplain.runtime.geometry import spans_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from onnxplain.contract import CellSpan, MapFrame

# Points further apart leave the pixels between them to themselves, and h grows spikes: 4 × 4 suit the published cells
# of 16 pixels.
_LEAST_POINTS, _LARGEST_SPACING = 4, 4

# A cell counts as seen where at least this share of its sample points lies in the image.
_SEEN_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Downsampling:
    """``D A_l`` for every copy l (Morbidelli et al. 2020), stacked.

    `matrix`: sparse float32 (L·h·w, H·W), from a heatmap in the frame of the model's input to the grids of the L
    copies. A row sums to 1: it computes the mean of the heatmap over the part of its cell that shows the image. Rows of
    cells that do not show the image are empty. `seen`: bool (L, h, w), which cells show the image.
    """

    matrix: csr_matrix
    seen: npt.NDArray[np.bool_]


def build_downsampling(
    transforms: Transforms,
    input_size_hw: tuple[int, int],
    grid_hw: tuple[int, int],
    points: int = 4,
    frame: MapFrame | None = None,
) -> Downsampling:
    """The operator for copies from `RandomCopies.draw`, float64 (L, 2, 3), and a layer of `grid_hw` cells.

    The area of a cell is averaged over `points` × `points` evenly spaced points, the heatmap interpolated bilinearly
    at each (1 point: the published code's). `frame`: where the cells lie in a copy; None: spread over the whole of it.
    Points outside the image, or outside what the layer sees of the copy, are left out, and so are cells with less than
    half of their points inside. Raises OnnxplainError for no points, and for a copy that sees no cell at all.
    """
    from scipy.sparse import csr_matrix, vstack

    if points < 1:
        raise OnnxplainError(f"points: found {points}, expected at least 1 sample point per side of a cell")
    (height, width), (rows, columns) = input_size_hw, grid_hw
    (y, shown_y), (x, shown_x) = (
        _sample_points(cells, points, side, span)
        for cells, side, span in zip(grid_hw, input_size_hw, spans_of(frame), strict=True)
    )
    shown = (shown_y[:, None] & shown_x).ravel()
    points_xy1 = np.stack([*(axis.ravel() for axis in np.meshgrid(x, y)), np.ones(len(x) * len(y))])
    cell = (np.arange(len(y))[:, None] // points * columns + np.arange(len(x)) // points).ravel()
    cells = rows * columns
    matrices, seen = [], np.empty((len(transforms), cells), np.bool_)
    for copy, transform in enumerate(transforms):
        at_xy = transform @ points_xy1
        inside = shown & ((at_xy >= 0) & (at_xy <= [[width], [height]])).all(axis=0)
        count = np.bincount(cell[inside], minlength=cells)
        seen[copy] = count >= _SEEN_SHARE * points**2
        if not seen[copy].any():
            raise OnnxplainError(
                f"augmentation: copy {copy} shows the image in none of the {rows} × {columns} cells of the layer, "
                "expected at least one: use a smaller translation, rotation or zoom"
            )
        used = inside & seen[copy, cell]
        pixels, shares = interpolate_bilinear(at_xy[:, used], input_size_hw)
        values = (shares / count[cell[used]]).astype(np.float32)
        where = np.broadcast_to(cell[used], pixels.shape)
        # csr_matrix adds up several shares of one cell in the same pixel.
        matrices.append(csr_matrix((values.ravel(), (where.ravel(), pixels.ravel())), shape=(cells, height * width)))
    return Downsampling(vstack(matrices, format="csr"), seen.reshape(len(transforms), rows, columns))


def _sample_points(
    cells: int, points: int, side: int, span: CellSpan | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Where the points of all cells lie along one axis of a copy, and which of them the layer sees."""
    number = np.arange(0.5, cells * points, dtype=np.float64)
    if span is None:
        return number * (side / (cells * points)), np.ones(len(number), np.bool_)
    at = number * (span.scale / points) + span.offset
    return at, (at >= max(span.seen[0], 0)) & (at <= min(span.seen[1], side))


def choose_points(input_size_hw: tuple[int, int], grid_hw: tuple[int, int], frame: MapFrame | None = None) -> int:
    """Sample points per side of a cell: 4, or as many as keep neighbours within 4 pixels of the input."""
    even = [side / cells for side, cells in zip(input_size_hw, grid_hw, strict=True)]
    sides = even if frame is None else frame.scale_hw
    return max(_LEAST_POINTS, *(math.ceil(side / _LARGEST_SPACING) for side in sides))


def interpolate_bilinear(
    at_xy: npt.NDArray[np.float64], size_hw: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The four pixels around each point, as indices y · W + x, int64 (4, P), and their shares, float64 (4, P).

    `at_xy`: float64 (2, P), continuous coordinates. Beyond the outermost pixel centres the edge pixel is repeated.
    """
    sides = np.array(size_hw[::-1])[:, None]
    position = np.clip(at_xy - 0.5, 0, sides - 1)
    first = np.minimum(position.astype(np.int64), np.maximum(sides - 2, 0))
    second = np.minimum(first + 1, sides - 1)
    share = position - first
    (x1, y1), (x2, y2), (right, down), width = first, second, share, size_hw[1]
    pixels = np.stack([y1 * width + x1, y1 * width + x2, y2 * width + x1, y2 * width + x2])
    shares = np.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
    return pixels, shares
