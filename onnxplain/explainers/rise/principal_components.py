"""The principal components of RISE's masks, in closed form.

At any shift, every cell is an independent random bit with probability p. R and C are the bilinear matrices of the two
axes, cut at the shift; means are over all shifts. Then

    Cov(M(y, x), M(y', x')) = p(1 − p) · K_R(y, y') · K_C(x, x'),   K_R = mean of R Rᵀ,   K_C = mean of C Cᵀ.

The covariance is separable. Its eigenvectors are products of an eigenvector u of K_R (along y) and an eigenvector v of
K_C (along x). Its eigenvalues λ are p(1 − p) times the products of their eigenvalues.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.masked.masks import ALL_PIXELS, MaskDraw, MaskGeometry, Pixels
from onnxplain.machine.small_products import small_product
from onnxplain.runtime.arrays import DoubleArray, FloatArray

# Components that stand for a whole mask: for 8 × 8 cells they hold 99.9 % of its variance.
COMPONENTS = 256
# Those that a regression of the score uses, 94 % of the variance: more would not be told apart by a few hundred masks.
FITTED = 64
# Eigenvalues below this share of the largest are only rounding errors.
_LEAST_SHARE = 1e-9


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """The K ≤ 256 components φ_k of the masks with the largest variances λ_k, float64.

    `variances` (K,), largest first. Component k is the product of column `rows_index[k]` of `rows` (H, A) and
    column `columns_index[k]` of `columns` (W, B), both orthonormal over pixels. `row_weights` (cell height, A, grid)
    and `column_weights` (cell width, B, grid) project a grid, at each shift, on these columns. `keep`: the expectation
    of the masks at every pixel.
    """

    variances: DoubleArray
    rows: DoubleArray
    columns: DoubleArray
    rows_index: npt.NDArray[np.int64]
    columns_index: npt.NDArray[np.int64]
    row_weights: DoubleArray
    column_weights: DoubleArray
    keep: float

    def __len__(self) -> int:
        return len(self.variances)

    @property
    def fitted(self) -> int:
        """How many of them, the first ones, a regression of the score uses."""
        return min(FITTED, len(self))

    def values(self, draw: MaskDraw) -> DoubleArray:
        """z_k = ⟨M − p, φ_k⟩ for each mask, (n, K): expectation 0, covariance diag(λ)."""
        y, x = draw.shifts_yx.T
        shares = self.row_weights[y] @ (draw.grids - self.keep) @ self.column_weights[x].swapaxes(-1, -2)
        values: DoubleArray = shares[:, self.rows_index, self.columns_index]
        return values

    def maps(self, weights: DoubleArray, pixels: Pixels = ALL_PIXELS) -> DoubleArray:
        """Σ_k weight_k · φ_k, (…, K) → (…, H, W). `pixels`: the rows and columns to compute."""
        products = np.zeros((*weights.shape[:-1], self.rows.shape[1], self.columns.shape[1]))
        products[..., self.rows_index, self.columns_index] = weights
        return small_product(small_product(self.rows[pixels[0]], products), self.columns[pixels[1]].T)


@lru_cache(maxsize=8)
def find_components(geometry: MaskGeometry, largest: int = COMPONENTS) -> PrincipalComponents:
    """The first principal components of a geometry's masks, at most `largest`."""
    height, width = geometry.input_size_hw
    keep, (cell_height, cell_width) = geometry.keep, geometry.cell_hw
    row_cuts, column_cuts = _cuts(geometry.rows, height, cell_height), _cuts(geometry.columns, width, cell_width)
    (row_shares, rows), (column_shares, columns) = _eigen(row_cuts), _eigen(column_cuts)
    variances = keep * (1 - keep) * np.outer(row_shares, column_shares)
    order = np.argsort(-variances, axis=None, kind="stable")[:largest]
    order = order[variances.ravel()[order] > _LEAST_SHARE * variances.max()]
    rows_index, columns_index = np.unravel_index(order, variances.shape)
    rows, columns = rows[:, : rows_index.max() + 1], columns[:, : columns_index.max() + 1]
    return PrincipalComponents(
        variances=variances.ravel()[order],
        rows=rows,
        columns=columns,
        rows_index=rows_index.astype(np.int64),
        columns_index=columns_index.astype(np.int64),
        row_weights=small_product(rows.T, row_cuts),
        column_weights=small_product(columns.T, column_cuts),
        keep=keep,
    )


def _cuts(matrix: FloatArray, length: int, cell: int) -> DoubleArray:
    """The bilinear matrix of an axis at each shift: (cell, length, grid)."""
    return np.stack([matrix[shift : shift + length] for shift in range(cell)]).astype(np.float64)


def _eigen(cuts: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Eigenvalues (largest first) and eigenvectors (as columns) of the mean of R Rᵀ over the shifts."""
    side_by_side = cuts.swapaxes(0, 1).reshape(cuts.shape[1], -1)
    values, vectors = np.linalg.eigh(small_product(side_by_side, side_by_side.T) / len(cuts))
    return np.maximum(values[::-1], 0), vectors[:, ::-1]
