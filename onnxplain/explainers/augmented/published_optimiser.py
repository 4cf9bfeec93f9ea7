"""The published optimiser of Augmented Grad-CAM, for comparison: Adam with a fixed number of small steps."""

from __future__ import annotations

import numpy as np

from onnxplain.explainers.augmented.super_resolution import SuperResolution, add_adjoint_differences, differences
from onnxplain.runtime.arrays import FloatArray

ADAM_STEPS = 200

_MEAN_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8


def descend(problem: SuperResolution, steps: int = ADAM_STEPS, learning_rate: float = 0.001) -> FloatArray:
    """Minimise the objective with Adam (Kingma and Ba 2015, algorithm 1) from zero: float32 (H, W), not negative.

    The subgradient of the total variation is ``λ ∇ᵀ sign(∇h)`` with sign(0) = 0, as in automatic differentiation.
    A step moves a pixel by about the learning rate at most, so 200 steps of 0.001 stay below 0.2, wherever the minimum
    is. The published code does not enforce h ≥ 0; here negative values become 0 at the end.
    """
    h = np.zeros(problem.size_hw, np.float32)
    mean, square = np.zeros_like(h), np.zeros_like(h)
    transposed = problem.matrix.T.tocsr()
    for step in range(1, steps + 1):
        right, down = (np.sign(part) * np.float32(problem.total_variation) for part in differences(h))
        gradient = (transposed @ (2 * problem.residual(h))).reshape(problem.size_hw)
        gradient += np.float32(2 * problem.ridge) * h
        add_adjoint_differences((right, down), gradient)
        mean += np.float32(1 - _MEAN_DECAY) * (gradient - mean)
        square += np.float32(1 - _SQUARE_DECAY) * (gradient**2 - square)
        scale = np.sqrt(square / np.float32(1 - _SQUARE_DECAY**step)) + np.float32(_EPSILON)
        h -= np.float32(learning_rate / (1 - _MEAN_DECAY**step)) * mean / scale
    return np.maximum(h, 0)
