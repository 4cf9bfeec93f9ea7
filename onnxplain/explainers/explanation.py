"""The result of every method: a heatmap over the image, and what it explains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.heatmap import Status, visible_window
from onnxplain.explainers.regions import CAM_THRESHOLD, Regions, Threshold, find_regions
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.geometry import Frame

if TYPE_CHECKING:
    from onnxplain.contract import MapFrame
    from onnxplain.explainers.method_report import MethodReport
    from onnxplain.runtime.detection.detections import Detection
    from onnxplain.runtime.image import ImageLike
    from onnxplain.runtime.results import Prediction


@dataclass(frozen=True, eq=False)
class Explanation:
    """The evidence for the model's output `target_name`, as a heatmap over the image.

    `heatmap`: float32 (H, W) in [0, 1], size of the original image; its maximum is exactly 1 where `status`
    is "ok", and it is all 0 where it is not. 0 outside the part of the image that the model saw.
    `raw`: float32 (h, w), what the method computed before normalisation, signed where the method is: the layer's grid
    for the CAM family, the input's size for RISE. `map_frame`: where `raw` lies in the model's input; None: it is
    spread over the whole of it.
    `status`: "ok"; "no_positive_evidence": nothing visible speaks for the target; "constant": the map is the
    same everywhere; "non_finite": the model gave NaN or infinity.
    `method`, `layer`: the method's name and the layer it looked at (None for black-box methods).
    `target`: the explained output: class index 0…C−1, or C…C+3 for a box coordinate; `target_name` its label.
    `score`: the softmax score of the target class, `label` its label; for a box coordinate, those of the
    predicted class.
    `frame`: where the model's input lies in the image. `evaluations`: forward passes this image took.
    `prediction`: what the model says of the unmasked image, without a box; None where only a callable is
    known, and for detectors. `detection`: the detection that is explained, None for other models. Then `target` is
    candidate · (C + 4) + class, with C = 1 where candidates carry their own class, and `target_name` is as ``dog#2``:
    the second dog of the image by score.
    `default_threshold`: where `boxes()` cuts, a share of the maximum.
    `report`: what the method says of its own work (how exact, by which means); None where there is nothing to say.
    Raises OnnxplainError where these disagree.
    """

    heatmap: FloatArray = field(repr=False)
    raw: FloatArray = field(repr=False)
    status: Status
    method: str
    target: int
    target_name: str
    score: float
    label: str
    layer: str | None
    frame: Frame
    evaluations: int
    prediction: Prediction | None = field(default=None, repr=False)
    default_threshold: float = CAM_THRESHOLD
    report: MethodReport | None = None
    detection: Detection | None = None
    map_frame: MapFrame | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.heatmap.dtype != np.float32 or self.heatmap.shape != self.frame.image_size_hw:
            raise OnnxplainError(
                f"explanation: found heatmap {self.heatmap.dtype} {self.heatmap.shape}, "
                f"expected float32 {self.frame.image_size_hw}"
            )
        if self.raw.dtype != np.float32 or self.raw.ndim != 2:
            raise OnnxplainError(f"explanation: found raw {self.raw.dtype} {self.raw.shape}, expected float32 (h, w)")
        if self.status not in get_args(Status):
            raise OnnxplainError(
                f"explanation: found status {self.status!r}, expected one of {', '.join(get_args(Status))}"
            )
        peak = 1.0 if self.status == "ok" else 0.0
        # A comparison with NaN is false, so this also refuses a heatmap that is not finite.
        if not (self.heatmap.min() >= 0 and self.heatmap.max() == peak):
            raise OnnxplainError(
                f"explanation: found heat from {self.heatmap.min()} to {self.heatmap.max()}, "
                f"expected from 0 up to {peak} for status {self.status}"
            )

    def boxes(self, threshold: Threshold | None = None) -> Regions:
        """Connected regions of the heatmap, largest first, with boxes xyxy in pixels of the original image.

        `threshold`: a share of the maximum. None: 0.15 for the CAM family, 0.5 for RISE. ``"stable"``: the share
        at which the largest region's box changes least. Raises the errors of `find_regions`.
        """
        return find_regions(self.heatmap, self.default_threshold if threshold is None else threshold)

    def overlay(self, image: ImageLike, colormap: str = "turbo", alpha: float = 0.5) -> npt.NDArray[np.uint8]:
        """The heatmap blended over its image: uint8 (H, W, 3) RGB.

        The part that the model saw becomes ``(1 − alpha) · image + alpha · colour(heat)``, without gamma correction.
        The rest does not change, nor does the whole image if `status` is not "ok". Raises OnnxplainError for an image
        of another size, an unknown colormap (the message lists all) or an alpha outside [0, 1].
        """
        from onnxplain.explainers.render import blend
        from onnxplain.runtime.images.pixels import picture_of

        image_hwc = picture_of(image, self.frame.image_size_hw)
        window = visible_window(self.frame) if self.status == "ok" else (slice(0), slice(0))
        return blend(image_hwc, self.heatmap, colormap, alpha, window)
