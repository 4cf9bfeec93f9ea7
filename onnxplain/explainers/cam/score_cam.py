"""Score-CAM (Wang et al. 2020): feature maps weighted by the score of the image masked with each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.aimed.observing import PlacedActivations
from onnxplain.explainers.aimed.placed_target import run_columns
from onnxplain.explainers.cam.activation_map import weighted_sum
from onnxplain.explainers.cam.probing import Probe, ProbingExplainer
from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.masked.open_black_box import open_black_box
from onnxplain.explainers.passes import Passes
from onnxplain.machine.small_products import small_product
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.geometry import cell_matrix, spans_of
from onnxplain.runtime.results import Activations
from onnxplain.runtime.sessions.batches import IMAGES_AT_ONCE

if TYPE_CHECKING:
    from onnxplain.contract import MapFrame
    from onnxplain.contract.heads import HeadKind
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True)
class ScoreCAM(ProbingExplainer):
    """``M = Σ_k C(A_k) A_k`` with ``C(A_k) = f_c(X ∘ H_k) − f_c(X_b)`` (Wang et al., CVPRW 2020, definitions 3 and 4).

    H_k is the feature map A_k, enlarged to the input size (bilinear) and scaled to [0, 1] by its minimum and range. f_c
    is the score that is shown: the softmax score of a class, the sigmoid of a label, a number, a cosine, or the mean
    probability over a region. X_b is the blank image. A map that is the same everywhere has no H_k and is left
    out. Where H_k is 0, the input has the "mean" fill of RISE's masked pixels; X_b has this fill everywhere.

    Scores are softmax scores, as in the paper's section on normalisation. The authors' code leaves out X_b, which adds
    the same weight to every map. The paper's algorithm 1 also applies a softmax over the maps to the increases, so that
    no weight is negative; this is not done here.

    `maps`: use only this many maps, those with the largest standard deviation; None: all. `batch_size`: masked images
    in memory at a time (None: 8). `raw` is M, float32 (h, w), signed: C is negative if a map hides the evidence. K + 2
    passes through the whole model, where K is the number of maps used. Box coordinates are refused.
    """

    maps: int | None = None
    batch_size: int | None = None

    name: ClassVar[str] = "score-cam"
    unit: ClassVar[str] = "score · activation"
    refused_kinds: ClassVar[Mapping[HeadKind, str]] = {"box": "the method uses class scores"}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("maps", self.maps), ("batch_size", self.batch_size)):
            if least is not None and least < 1:
                raise OnnxplainError(f"{name}: found {least}, expected at least 1")

    @property
    def passes(self) -> Passes | None:
        """See `Explainer`; at most: maps that are the same everywhere are left out."""
        most = [layer.channels if self.maps is None else min(self.maps, layer.channels) for layer in self._layers()]
        return Passes(forward=sum(2 + maps for maps in most))

    def _probe(self, image: ImageLike, activations: PlacedActivations) -> Probe:
        features, placed = activations.features[0], activations.placed
        taken = self._choose_maps(features)
        view = open_black_box(self.engine, None, "mean").look(image)
        blank = show(view, np.zeros((1, *view.pixels.shape[1:]), np.float32))
        reference = run_columns(self.engine, placed, blank)[0]
        # A map that is not tried gets the weight 0.
        answers = np.repeat(reference[None], len(features), axis=0)
        frame = self.engine.spec.frame_of(activations.layer)
        batch_size = self.batch_size or IMAGES_AT_ONCE
        for start in range(0, len(taken), batch_size):
            part = taken[start : start + batch_size]
            copies = show(view, make_masks(features[part], view.pixels.shape[1:], frame))
            answers[part] = run_columns(self.engine, placed, copies)
            self._report(start + len(part), len(taken))
        return Probe(answers, reference, evaluations=2 + len(taken))

    def _choose_maps(self, features: FloatArray) -> npt.NDArray[np.intp]:
        """Indices of the maps to try, in ascending order."""
        flat = features.reshape(len(features), -1)
        varying = np.flatnonzero(flat.min(axis=1) != flat.max(axis=1))
        if self.maps is None or self.maps >= len(varying):
            return varying
        deviation = flat[varying].std(axis=1)
        return np.sort(varying[np.argsort(-deviation, kind="stable")[: self.maps]])

    def _weigh_answers(self, activations: Activations, probe: Probe) -> FloatArray:
        increase = probe.answers - probe.reference
        return weighted_sum(increase.T, activations.features)


def show(view: View, masks_nhw: FloatArray) -> FloatArray:
    """One copy per mask, float32 (n, C, H, W): the pixel where the mask is 1, the fill where it is 0."""
    return (view.pixels - view.hidden) * masks_nhw[:, None] + view.hidden


def make_masks(features: FloatArray, size_hw: tuple[int, ...], frame: MapFrame | None = None) -> FloatArray:
    """Feature maps (n, h, w) enlarged to (n, H, W), each brought to [0, 1] by its minimum and range.

    `frame`: where they lie in the input; None: spread over the whole of it. 0 outside what they see.
    """
    rows, columns = (
        cell_matrix(side, (1.0, 0.0), cells, side, span)
        for side, cells, span in zip(size_hw, features.shape[1:], spans_of(frame), strict=True)
    )
    seen = np.outer(rows.any(axis=1), columns.any(axis=1))
    masks = np.empty((len(features), *size_hw), np.float32)
    for mask, feature_map in zip(masks, features, strict=True):
        mask[:] = small_product(rows, small_product(feature_map, columns.T))
        mask -= mask[seen].min() if frame is not None else mask.min()
        mask *= seen if frame is not None else 1
        mask /= mask.max() or 1
    return masks
