"""Attention rollout (Abnar & Zuidema 2020): attention multiplied through all layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.explainers.attention.attention_explainer import AttentionExplainer, mean_of_heads
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True)
class AttentionRollout(AttentionExplainer):
    """``R = Â_L ⋯ Â_2 Â_1`` with ``Â = (mean_heads(A) + I) / 2``, each row divided by its sum.

    Abnar & Zuidema, Quantifying Attention Flow in Transformers (ACL 2020), section 3: I stands for the connection that
    skips the attention. `raw` is R's row of the token that the head reads, without the class token. It is the same for
    all targets; `target` only sets the name in the explanation.
    """

    name: ClassVar[str] = "attention-rollout"
    unit: ClassVar[str] = "share of the attention"
    uses_target: ClassVar[bool] = False
    combines: ClassVar[bool] = False

    def follow(self, matrices: Sequence[DoubleArray], gradients: Sequence[DoubleArray], rows: slice) -> DoubleArray:
        """R's mean row."""
        count = matrices[0].shape[-1]
        # The rows first, so that each layer costs one product of some rows with a matrix.
        found: DoubleArray = np.eye(count)[rows].mean(axis=0)
        for matrix in reversed(matrices):
            mixed = mean_of_heads(matrix) + np.eye(count)
            found = found @ (mixed / mixed.sum(axis=1, keepdims=True))
        return found
