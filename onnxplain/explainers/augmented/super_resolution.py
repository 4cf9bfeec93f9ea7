"""Super-resolution of one heatmap from many coarse maps: the problem, its dual bound, and a solver.

The primal problem, over heatmaps h ≥ 0 (Morbidelli et al. 2020; K stacks D A_l of all copies, g their maps):

    P(h) = ‖K h − g‖² + λ ‖∇h‖₁ + μ ‖h‖²

∇ is the differences of neighbours in x and in y (anisotropic total variation). With ``‖r‖² = max_y ⟨y, r⟩ − ‖y‖²/4``
and ``λ‖d‖₁ = max_{|q| ≤ λ} ⟨q, d⟩``, each pixel of h can be minimised separately. Any y and |q| ≤ λ give a bound:

    D(y, q) = −‖y‖²/4 − ⟨y, g⟩ − ‖min(Kᵀy + ∇ᵀq, 0)‖² / (4 μ)  ≤  min P
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import FloatArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Flow = tuple[FloatArray, FloatArray]

MAX_ITERATIONS = 3000
# A check costs about as much as an iteration.
_ITERATIONS_PER_CHECK = 10
# Convergence is proved below 2.
_RELAXATION = np.float32(1.9)


@dataclass(frozen=True, eq=False)
class SuperResolution:
    """The problem above: `matrix` is K, sparse float32 (m, H·W), `maps` is g, float32 (m,), `size_hw` is (H, W) of h.

    `total_variation` is λ ≥ 0 and `ridge` is μ > 0, both for the whole sum. Raises OnnxplainError for weights out of
    range and for shapes that do not match.
    """

    matrix: csr_matrix
    maps: FloatArray
    size_hw: tuple[int, int]
    total_variation: float
    ridge: float

    def __post_init__(self) -> None:
        check_weights(self.total_variation, self.ridge)
        expected = (len(self.maps), self.size_hw[0] * self.size_hw[1])
        if self.maps.ndim != 1 or self.matrix.shape != expected:
            raise OnnxplainError(
                f"super-resolution: found a matrix of {self.matrix.shape} for maps {self.maps.shape} and a heatmap of "
                f"{self.size_hw}, expected {expected}"
            )

    def residual(self, heatmap_hw: FloatArray) -> FloatArray:
        """``K h − g``, float32 (m,)."""
        difference: FloatArray = self.matrix @ heatmap_hw.ravel() - self.maps
        return difference

    def objective(self, heatmap_hw: FloatArray) -> float:
        """P(h) for a heatmap h ≥ 0, float32 (H, W), summed in float64."""
        variation = sum(np.abs(part).sum(dtype=np.float64) for part in differences(heatmap_hw))
        return float(
            _sum_of_squares(self.residual(heatmap_hw))
            + self.total_variation * variation
            + self.ridge * _sum_of_squares(heatmap_hw)
        )

    def bound(self, dual: FloatArray, backprojection_hw: FloatArray) -> float:
        """D(y, q) for `dual` y, float32 (m,), and `backprojection_hw` Kᵀy + ∇ᵀq, float32 (H, W), |q| ≤ λ."""
        fit = -_sum_of_squares(dual) / 4 - float(np.dot(dual.astype(np.float64), self.maps))
        return fit - _sum_of_squares(np.minimum(backprojection_hw, 0)) / (4 * self.ridge)


@dataclass(frozen=True, eq=False)
class Solution:
    """A heatmap h ≥ 0, float32 (H, W), its objective, a lower bound of the minimum, and the number of iterations."""

    heatmap: FloatArray
    objective: float
    bound: float
    iterations: int

    @property
    def gap(self) -> float:
        """How far the objective can be above the minimum, as a share of the objective."""
        return (self.objective - self.bound) / self.objective if self.objective > 0 else 0.0


def solve(problem: SuperResolution, gap: float = 0.01, max_iterations: int = MAX_ITERATIONS) -> Solution:
    """Minimise P until the relative duality gap is at most `gap`, for at most `max_iterations`.

    The primal-dual method of Chambolle and Pock, with the diagonal steps of Pock and Chambolle 2011 (lemma 2, α = 1)
    and over-relaxation (Condat 2013, algorithm 3.1). It starts from zero and repeats
    h ← max(0, (h − τ(Kᵀy + ∇ᵀq)) / (1 + 2τμ)), h̄ = 2 h_new − h, y ← (y + σ(K h̄ − g)) / (1 + σ/2),
    q ← clip(q + σ ∇h̄, ±λ).
    """
    transposed = problem.matrix.T.tocsr()
    limit, ridge = np.float32(problem.total_variation), np.float32(problem.ridge)
    # The primal step is one over the absolute column sums of K and ∇ together. The dual steps are one over the row
    # sums, which are 1 in K and 2 in ∇.
    column_sums = transposed @ np.ones(len(problem.maps), np.float32)
    step = 1 / (column_sums.reshape(problem.size_hw) + _count_neighbours(problem.size_hw))
    dual_step, flow_step = np.float32(1), np.float32(0.5)
    shrinkage, dual_shrinkage = 1 / (1 + 2 * ridge * step), np.float32(1 / (1 + dual_step / 2))

    def back_project(dual: FloatArray, flow: Flow) -> FloatArray:
        projected: FloatArray = (transposed @ dual).reshape(problem.size_hw)
        add_adjoint_differences(flow, projected)
        return projected

    h = np.zeros(problem.size_hw, np.float32)
    y, q = np.zeros_like(problem.maps), differences(h)
    bound = -np.inf
    for iteration in range(1, max_iterations + 1):
        new_h = np.maximum((h - step * back_project(y, q)) * shrinkage, 0)
        ahead = 2 * new_h - h
        new_y = (y + dual_step * problem.residual(ahead)) * dual_shrinkage
        right, down = differences(ahead)
        new_q = (np.clip(q[0] + flow_step * right, -limit, limit), np.clip(q[1] + flow_step * down, -limit, limit))
        if iteration % _ITERATIONS_PER_CHECK == 0 or iteration == max_iterations:
            objective = problem.objective(new_h)
            bound = max(bound, problem.bound(new_y, back_project(new_y, new_q)))
            if objective - bound <= gap * objective:
                break
        h = h + _RELAXATION * (new_h - h)
        y = y + _RELAXATION * (new_y - y)
        q = (q[0] + _RELAXATION * (new_q[0] - q[0]), q[1] + _RELAXATION * (new_q[1] - q[1]))
    return Solution(new_h, objective, bound, iteration)


def check_weights(total_variation: float, ridge: float) -> None:
    """Raise OnnxplainError unless `total_variation` is not negative and `ridge` positive, both finite."""
    if not 0 <= total_variation < np.inf:
        raise OnnxplainError(f"total_variation: found {total_variation}, expected a weight of at least 0")
    if not 0 < ridge < np.inf:
        raise OnnxplainError(f"ridge: found {ridge}, expected a weight above 0: without it the gap is unknown")


def differences(image_hw: FloatArray) -> Flow:
    """∇: each pixel's right neighbour minus itself, (H, W − 1), and its lower neighbour minus itself, (H − 1, W)."""
    return image_hw[:, 1:] - image_hw[:, :-1], image_hw[1:] - image_hw[:-1]


def add_adjoint_differences(flow: Flow, image_hw: FloatArray) -> None:
    """Add ∇ᵀq of `flow` q, shaped as `differences` gives it, to `image_hw` (H, W) in place."""
    right, down = flow
    image_hw[:, 1:] += right
    image_hw[:, :-1] -= right
    image_hw[1:] += down
    image_hw[:-1] -= down


def _count_neighbours(size_hw: tuple[int, int]) -> FloatArray:
    """The column sums of |∇|: 4 inside the image, 3 on its sides, 2 in its corners."""
    count = np.zeros(size_hw, np.float32)
    ones = np.ones(size_hw, np.float32)
    count[:, 1:] += ones[:, 1:]
    count[:, :-1] += ones[:, 1:]
    count[1:] += ones[1:]
    count[:-1] += ones[1:]
    return count


def _sum_of_squares(values: npt.NDArray[np.float32]) -> float:
    flat = values.ravel().astype(np.float64)
    return float(flat @ flat)
