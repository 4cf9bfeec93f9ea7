"""Boxes from any model: from the box head if there is one, else from the heatmap of the predicted class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from onnxplain.contract.arguments import checked
from onnxplain.errors import UnsupportedError
from onnxplain.explainers.registry import build, supported
from onnxplain.runtime.detection.detector import refuse_detector
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.image import list_images

if TYPE_CHECKING:
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.image import ImageLike
    from onnxplain.runtime.results import Prediction
    from onnxplain.runtime.target import Target

BoxMethod = Literal["cam", "grad-cam"]


@checked
def localize(
    engine: Engine, images: ImageLike | Iterable[ImageLike], method: BoxMethod | None = None
) -> list[Prediction]:
    """The class and box of each image: one `Prediction` per image, always as a list.

    `method` None: the box of the model's own box head (``box_source`` "head"). Without a box head: the weakly
    supervised box (Zhou et al. 2016, section 3.2), which is the largest region of the predicted class's heatmap at the
    method's default threshold. The heatmap is made by CAM (``"cam"``) if the head allows it, else by Grad-CAM
    (``"grad-cam"``). "cam" or "grad-cam" forces that heatmap, even if there is a box head. Boxes are x1, y1, x2, y2 in
    pixels of the original image.

    `box_xyxy` and `box_source` are None if the heatmap holds no positive evidence, or if the file has neither a box
    head nor an instrumented layer. Raises OnnxplainError for another method, UnsupportedError if the file does not
    support the method, and for a model without a head of classes.
    """
    refuse_detector(engine.spec, engine.source)
    classes = next((head for head in engine.spec.heads if head.kind == "classes"), None)
    if classes is None:
        kinds = ", ".join(f"{head.name} ({head.kind})" for head in engine.spec.heads)
        raise UnsupportedError(
            f"localize: found the heads {kinds}, expected one of classes: for boxes of another head explain a target, "
            "GradCAM(engine)(image, target).boxes(); answers() has the box of a box head"
        )
    if method is None and engine.spec.box is None:
        method = next((name for name in get_args(BoxMethod) if name in supported(engine)), None)
    if method is None:
        return engine.predict(images)
    listed = list_images(images)
    targets: list[Target] = [None] * len(listed)
    if engine.spec.head is not classes:
        first = engine.spec.numbering.target(classes, 0)
        targets = [first + prediction.class_id for prediction in engine.predict(listed)]
    explanations = build(method, engine)(listed, targets)
    return [_with_box(explanation, method) for explanation in explanations]


def _with_box(explanation: Explanation, method: BoxMethod) -> Prediction:
    prediction, regions = explanation.prediction, explanation.boxes()
    assert prediction is not None  # There is a head of classes.
    if not len(regions):
        return prediction
    x1, y1, x2, y2 = (float(side) for side in regions.xyxy[0])
    return replace(prediction, box_xyxy=(x1, y1, x2, y2), box_source=method)
