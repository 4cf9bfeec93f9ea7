"""KPCA-CAM (Karmani et al. 2024): the first kernel principal component of a layer's feature maps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.cam.activation_map import ActivationMapExplainer
from onnxplain.machine.small_products import small_product
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Kernel: TypeAlias = Literal["sigmoid", "rbf"]
MOST_CELLS = 4096
"""The kernel is a matrix of cells × cells, 128 MiB for 4,096 cells, and a few of them are held at once."""


@dataclass(frozen=True)
class KPCACAM(ActivationMapExplainer):
    """``M = √λ u``: λ and u are the largest eigenvalue and its eigenvector of ``H K H`` (Karmani et al. 2024).

    x_i (K numbers) is cell i of the feature maps minus the mean of all cells, K_ij = k(x_i, x_j) the kernel of two
    cells, and H = I − 1/n takes the mean of the n cells away. `kernel`: "sigmoid", k = tanh(gamma x·y + 1), as in the
    authors' code, or "rbf", k = exp(−gamma |x − y|²). `gamma`: None is 1 / K.

    The method uses no gradient and no target; `target` only sets the name in the explanation. An eigenvector has no
    sign of its own: it is chosen so that M correlates with the sum of the maps. Unlike Eigen-CAM's, M is centred: about
    half of the cells are negative. The sigmoid kernel saturates where features are large: M then says on which side of
    the mean a cell is, and hardly how far.

    `raw` is M, float32 (h, w), signed. It is 0 if there is no first component: all cells are alike, or the two largest
    eigenvalues are equal, as with "rbf" and a `gamma` by which every cell is unlike every other. Raises OnnxplainError
    for a `gamma` that is not above 0, UnsupportedError for a layer of more than 4,096 cells.
    """

    kernel: Kernel = "sigmoid"
    gamma: float | None = None

    name: ClassVar[str] = "kpca-cam"
    unit: ClassVar[str] = "first component"
    uses_target: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False
    combines: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gamma is not None and not 0 < self.gamma < np.inf:
            raise OnnxplainError(f"gamma: found {self.gamma}, expected a number above 0, or None for 1 / channels")
        for layer in self._layers():
            if math.prod(layer.size_hw) > MOST_CELLS:
                height, width = layer.size_hw
                raise UnsupportedError(
                    f"kpca-cam: found layer {layer.name} of {height} × {width} cells, expected at most {MOST_CELLS}, "
                    "because every cell is compared with every other: choose a deeper layer, or use eigen-cam"
                )

    def weigh(self, activations: Activations) -> FloatArray:
        """``√λ u`` of the features; all NaN if the image's maps hold NaN or infinity."""
        features = activations.features
        # Several targets of one image share its features, and so their map.
        distinct = features[:1] if features.strides[0] == 0 else features
        maps = np.full((len(distinct), *features.shape[2:]), np.nan, np.float32)
        for position, maps_khw in enumerate(distinct):
            if np.isfinite(maps_khw).all():
                cells = maps_khw.reshape(len(maps_khw), -1).T.astype(np.float64)
                gamma = self.gamma or 1 / len(maps_khw)
                maps[position] = _project_on_kernel_component(cells, self.kernel, gamma).reshape(maps.shape[1:])
        return np.broadcast_to(maps, (len(features), *maps.shape[1:]))


def _project_on_kernel_component(
    cells_nk: npt.NDArray[np.float64], kernel: Kernel, gamma: float
) -> npt.NDArray[np.float64]:
    """``√λ u`` of n cells of K features, float64 (n,); 0 if no eigenvalue is positive and larger than all others."""
    # Loaded on first use: scipy takes long to import.
    from scipy.sparse.linalg import eigsh

    totals = cells_nk.sum(axis=1)
    centred = cells_nk - cells_nk.mean(axis=0)
    similar = _KERNELS[kernel](small_product(centred, centred.T), gamma)
    means = similar.mean(axis=0)
    similar += means.mean() - means - means[:, None]
    largest = np.abs(similar).max()
    if largest < _ROUNDING:
        return np.zeros_like(totals)
    similar /= largest
    # A fixed start makes the result the same in every run.
    start = np.random.default_rng(0).standard_normal(len(totals))
    (value,), vectors = eigsh(similar, k=1, which="LA", v0=start)
    # With the first eigenvalue turned into its negative, the second is the largest.
    similar -= 2 * value * np.outer(vectors, vectors)
    (second,) = eigsh(similar, k=1, which="LA", v0=start, return_eigenvectors=False)
    if value <= 0 or (len(totals) > 2 and value - second < _GAP * value):
        return np.zeros_like(totals)
    component: npt.NDArray[np.float64] = np.sqrt(value * largest) * vectors[:, 0]
    return component if component @ (totals - totals.mean()) >= 0 else -component


def _sigmoid(products: npt.NDArray[np.float64], gamma: float) -> npt.NDArray[np.float64]:
    return np.tanh(gamma * products + 1)


def _rbf(products: npt.NDArray[np.float64], gamma: float) -> npt.NDArray[np.float64]:
    squares = np.diag(products)
    return np.exp(-gamma * np.maximum(squares[:, None] + squares - 2 * products, 0))


_KERNELS: Mapping[Kernel, Callable[[npt.NDArray[np.float64], float], npt.NDArray[np.float64]]] = {
    "sigmoid": _sigmoid,
    "rbf": _rbf,
}
# The kernel's numbers are at most 1; smaller differences of them are rounding.
_ROUNDING = 1e-12
# Eigenvalues nearer to each other, relative to the first, are equal up to the rounding of float32 features.
_GAP = 1e-6
