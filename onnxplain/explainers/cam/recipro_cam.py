"""Recipro-CAM (Byun & Lee 2022): the class score when the tail sees only one position of the feature maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxplain.explainers.aimed.placed_target import ReadHead
from onnxplain.explainers.cam.probing import Probe
from onnxplain.explainers.cam.tail_probing import TailProbingExplainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.heatmap import minus_min_over_range
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.head_scores import head_scores
from onnxplain.runtime.results import Activations

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec, MapFrame
    from onnxplain.contract.heads import HeadKind


@dataclass(frozen=True)
class ReciproCAM(TailProbingExplainer):
    """``M(x, y) = softmax(tail(A ⊙ m_xy))_c``, m_xy 1 at the position (x, y) and 0 elsewhere (Byun & Lee 2022, eq. 3).

    `gaussian`: m_xy is the paper's second mask, a 3 × 3 Gaussian around the position, cut off at the border (inside,
    its weights sum to 1). The published code copies the position's own features to its neighbours; here, as in the
    paper's formula, the mask multiplies the features at each position.

    softmax(tail(…))_c is the score that is shown: also the sigmoid of a label, a number, a cosine, or the mean
    probability over a region. `raw` is M, float32 (h, w). No sign of a score separates evidence for and against, so the
    heatmap is (M − min) / (max − min), as in the paper. One pass through the model and 1 + h·w passes through
    its tail. Box coordinates are refused.
    """

    gaussian: bool = False

    name: ClassVar[str] = "recipro-cam"
    unit: ClassVar[str] = "score"
    refused_kinds: ClassVar[Mapping[HeadKind, str]] = {"box": "the method uses class scores"}
    read: ClassVar[ReadHead] = staticmethod(head_scores)

    def _count_changes(self, layer: LayerSpec) -> int:
        return layer.size_hw[0] * layer.size_hw[1]

    def _change(self, copies: FloatArray, features: FloatArray, start: int) -> None:
        height, width = features.shape[1:]
        y, x = np.divmod(np.arange(start, start + len(copies)), width)
        rows, columns = self._spans(height)[y], self._spans(width)[x]
        np.multiply(features, (rows[:, :, None] * columns[:, None, :])[:, None], out=copies)

    def _spans(self, side: int) -> FloatArray:
        """Float32 (side, side): row i is the mask of position i along one axis."""
        alone = np.eye(side, dtype=np.float32)
        if not self.gaussian:
            return alone
        # The outer product of two such rows is the paper's kernel: 1/4 in the middle, 1/8 next to it, 1/16 at corners.
        beside = np.eye(side, k=1, dtype=np.float32) + np.eye(side, k=-1, dtype=np.float32)
        return (alone / 2 + beside / 4).astype(np.float32, copy=False)

    def _weigh_answers(self, activations: Activations, probe: Probe) -> FloatArray:
        return probe.answers.T.reshape(-1, *activations.layer.size_hw)

    def _explanation(
        self,
        activations: Activations,
        position: int,
        raw: FloatArray,
        layer: str | None = None,
        map_frame: MapFrame | None = None,
    ) -> Explanation:
        explanation = super()._explanation(activations, position, raw, layer, map_frame)
        heatmap, status = minus_min_over_range(raw, explanation.frame, map_frame)
        return replace(explanation, heatmap=heatmap, status=status)
