"""Gradient times attention (Chefer et al. 2021), carried through all layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.explainers.attention.attention_explainer import AttentionExplainer, mean_of_heads
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True)
class GradXAttention(AttentionExplainer):
    """``R ← R + Ā R`` from ``R = I``, layer by layer, with ``Ā = mean_heads(ReLU(∂y/∂A ∘ A))``.

    Chefer, Gur & Wolf, Generic Attention-model Explainability (ICCV 2021), equations 5 and 6: the rule for
    self-attention. y is what is differentiated, such as the logit. `raw` is R's row of the token that the head reads,
    without the class token.
    """

    name: ClassVar[str] = "grad-x-attention"
    unit: ClassVar[str] = "relevance"
    uses_gradients: ClassVar[bool] = True

    def follow(self, matrices: Sequence[DoubleArray], gradients: Sequence[DoubleArray], rows: slice) -> DoubleArray:
        """R's mean row."""
        # The rows first, as of a rollout: r ← r + r Ā from the last layer to the first.
        found: DoubleArray = np.eye(matrices[0].shape[-1])[rows].mean(axis=0)
        for matrix, gradient in zip(reversed(matrices), reversed(gradients), strict=True):
            found = found + found @ mean_of_heads(np.maximum(gradient * matrix, 0))
        return found
