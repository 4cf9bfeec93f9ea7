"""The result of every method: a heatmap over the image, and what it explains."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.heatmap import Status, visible_window
from onnxplain.explainers.regions import CAM_THRESHOLD, Regions, Threshold, find_regions
from onnxplain.explainers.score_text import write_score
from onnxplain.picture_defaults import DEFAULT_ALPHA, DEFAULT_COLORMAP
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.geometry import Frame

if TYPE_CHECKING:
    from onnxplain.contract import MapFrame
    from onnxplain.explainers.method_report import MethodReport
    from onnxplain.runtime.answers import Answer
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
    `target`: the explained entry, counted over all heads: for a classifier the class index, then C…C+3 for a box
    coordinate. `target_name` says what of it is explained, such as ``not dog``. `head`: the name of its head; None
    where only a callable is known.
    `score`, `label`: those of the explained entry. The score is the softmax score of a class, the sigmoid of a label,
    the number, the cosine with the reference, or the mean probability over the region of a mask. For a box coordinate
    they are those of the predicted class; without classes, the coordinate itself.
    `frame`: where the model's input lies in the image. `evaluations`: forward passes this image took.
    `prediction`: the class that the model predicts for the unmasked image, without a box; None for a model without
    classes and for a callable. `answers`: what each head answers; None for a callable and for a detector.
    `detection`: the detection that is explained, None for other models. Then `target` is candidate · (C + 4) + class,
    with C = 1 where candidates carry their own class, and `target_name` is as ``dog#2``: the second dog of the image
    by score.
    `default_threshold`: where `boxes()` cuts, a share of the maximum.
    `report`: what the method says of its own work (how exact, by which means); None where there is nothing to say.
    `image`: the image as it was given, a path, a PIL image or an array; None if it is not known.
    `unit`: what a value of `raw` is. `uses_target`: whether the method looks at the target at all. `heat_from_zero`:
    whether no heat means a raw value of 0; else it means the smallest value.
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
    unit: str = ""
    uses_target: bool = True
    heat_from_zero: bool = True
    map_frame: MapFrame | None = field(default=None, repr=False)
    head: str | None = None
    answers: tuple[Answer, ...] | None = field(default=None, repr=False)
    detection: Detection | None = None
    image: ImageLike | None = field(default=None, repr=False, compare=False)

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

    def __repr__(self) -> str:
        height, width = self.frame.image_size_hw
        layer = "" if self.layer is None else f" at {self.layer}"
        status = "" if self.status == "ok" else f", {self.status}"
        return f"<{self.method}{layer} for {self.target_name}, score {self.score_text(3)}, {height}×{width}{status}>"

    def score_text(self, digits: int = 2) -> str:
        """The score as text: a probability, a cosine or a coordinate with `digits` decimals, a number with its unit."""
        return write_score(self.score, self._answer, digits)

    @property
    def _answer(self) -> Answer | None:
        """The answer of the head that is explained."""
        return next((answer for answer in self.answers or () if answer.head.name == self.head), None)

    def picture(self, image: ImageLike | None = None) -> npt.NDArray[np.uint8]:
        """The heatmap over its image with title, box and colour bar: uint8 (H, W, 3) RGB.

        `image`: None for the explanation's own. Raises OnnxplainError if that is not known, and for an image of another
        size.
        """
        from onnxplain.explainers.drawing.explained import draw_explanation
        from onnxplain.explainers.drawing.figure import HeatStyle
        from onnxplain.runtime.images.pixels import picture_of

        source = self.image if image is None else image
        if source is None:
            raise OnnxplainError("picture: found no image in the explanation, expected one: give image=…")
        image_hwc = picture_of(source, self.frame.image_size_hw)
        return draw_explanation(self, image_hwc, self.boxes(), HeatStyle(DEFAULT_COLORMAP, DEFAULT_ALPHA))[0]

    def save(self, path: str | os.PathLike[str], image: ImageLike | None = None) -> None:
        """Write `picture` as a PNG file, completely or not at all. Raises OnnxplainError if that fails."""
        from onnxplain.explainers.drawing.sheet import save_png

        save_png(path, self.picture(image))

    def show(self) -> None:
        """Show `picture`: in a notebook below the cell, elsewhere in the system's image viewer."""
        from PIL import Image

        Image.fromarray(self.picture()).show()

    def _repr_png_(self) -> bytes | None:
        from onnxplain.explainers.drawing.sheet import encode_png

        return None if self.image is None else encode_png(self.picture())

    def _repr_html_(self) -> str:
        from html import escape

        picture = self._repr_png_()
        if picture is None:
            return f"<pre>{escape(repr(self))}</pre>"
        source = base64.b64encode(picture).decode()
        return f'<img alt="{escape(repr(self), quote=True)}" src="data:image/png;base64,{source}">'

    @property
    def shown(self) -> FloatArray:
        """The map that the heatmap shows, float32 (h, w), before normalisation: `raw`, or what the report puts instead.

        Only RISE's log-linear estimator does, which shows a map with less error than the unbiased `raw`.
        """
        shown = None if self.report is None else self.report.shown
        return self.raw if shown is None else shown

    @property
    def no_heat(self) -> float:
        """The value of `shown` that is drawn as no heat."""
        return 0.0 if self.heat_from_zero else float(self.shown.min())

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the model, and the map, saw."""
        return visible_window(self.frame, self.map_frame)

    def overlay(
        self, image: ImageLike, colormap: str = DEFAULT_COLORMAP, alpha: float = DEFAULT_ALPHA
    ) -> npt.NDArray[np.uint8]:
        """The heatmap blended over its image: uint8 (H, W, 3) RGB.

        The part that the model saw becomes ``(1 − a) · image + a · colour(heat)``, without gamma correction. The
        opacity a is `alpha` times the heat. The rest does not
        change, nor does the whole image if `status` is not "ok". Raises OnnxplainError for an image
        of another size, an unknown colormap (the message lists all) or an alpha outside [0, 1].
        """
        from onnxplain.explainers.drawing.colours import blend
        from onnxplain.runtime.images.pixels import picture_of

        image_hwc = picture_of(image, self.frame.image_size_hw)
        window = self.window if self.status == "ok" else (slice(0), slice(0))
        return blend(image_hwc, self.heatmap, colormap, alpha, window)
