"""Recipro-CAM (Byun & Lee 2022): the class score when the tail sees only one position of the feature maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxplain.explainers.cam.layer_explainer import require_class
from onnxplain.explainers.cam.probing import Probe
from onnxplain.explainers.cam.tail_probing import TailProbingExplainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.heatmap import minus_min_over_range
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.results import Activations
from onnxplain.runtime.scores import softmax
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec, MapFrame


@dataclass(frozen=True)
class ReciproCAM(TailProbingExplainer):
    """``M(x, y) = softmax(tail(A ⊙ m_xy))_c``, m_xy 1 at the position (x, y) and 0 elsewhere (Byun & Lee 2022, eq. 3).

    `gaussian`: m_xy is the paper's second mask, a 3 × 3 Gaussian around the position, cut off at the border (inside,
    its weights sum to 1). The published code copies the position's own features to its neighbours; here, as in the
    paper's formula, the mask multiplies the features at each position.

    `raw` is M, float32 (h, w), scores in [0, 1]. Scores have no sign that separates evidence for and against the class,
    so the heatmap is (M − min) / (max − min), as in the paper. One pass through the model and 1 + h·w passes through
    its tail. Box coordinates are refused.
    """

    gaussian: bool = False

    name: ClassVar[str] = "recipro-cam"
    unit: ClassVar[str] = "score"

    def _resolve_target(self, target: Target) -> int:
        return require_class(self, super()._resolve_target(target), "the method uses class scores")

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
        scores = softmax(probe.answers[:, : self.engine.spec.classes])
        return scores[:, activations.target].T.reshape(-1, *activations.layer.size_hw)

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
