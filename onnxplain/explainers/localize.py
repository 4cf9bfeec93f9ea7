"""Boxes from any model: the box head's where there is one, else from the heatmap of the predicted class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.registry import build, supported
from onnxplain.runtime.image import list_images

if TYPE_CHECKING:
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.engine import Engine
    from onnxplain.runtime.image import ImageLike
    from onnxplain.runtime.results import Prediction

BoxMethod = Literal["cam", "grad-cam"]


def localize(
    engine: Engine, images: ImageLike | Iterable[ImageLike], method: BoxMethod | None = None
) -> list[Prediction]:
    """What is in each image, and where: one `Prediction` per image, a list also for a single image.

    `method` None: the box of the model's own box head (``box_source`` "head"); without one, the weakly
    supervised box (Zhou et al. 2016, section 3.2): the largest region of the predicted class's heatmap at the
    method's default threshold, by CAM where the head allows it (``"cam"``), else by Grad-CAM
    (``"grad-cam"``). "cam" or "grad-cam" forces that heatmap, also where there is a box head. Boxes are x1,
    y1, x2, y2 in pixels of the original image.

    `box_xyxy` and `box_source` are None where the heatmap holds no positive evidence, and where the file has
    neither a box head nor an instrumented layer. Raises OnnxplainError for another method, UnsupportedError
    where the file does not support the one asked for.
    """
    if method is not None and method not in get_args(BoxMethod):
        raise OnnxplainError(
            f"method: found {method!r}, expected {' or '.join(get_args(BoxMethod))}, or None for "
            "the model's own box head where there is one"
        )
    if method is None and engine.spec.box is None:
        method = next((name for name in get_args(BoxMethod) if name in supported(engine)), None)
    if method is None:
        return engine.predict(images)
    return [_with_box(explanation, method) for explanation in build(method, engine)(list_images(images))]


def _with_box(explanation: Explanation, method: BoxMethod) -> Prediction:
    prediction, regions = explanation.prediction, explanation.boxes()
    if prediction is None:
        raise OnnxplainError(f"{method}: found an explanation without a prediction, expected one per image")
    if not len(regions):
        return prediction
    x1, y1, x2, y2 = (float(side) for side in regions.xyxy[0])
    return replace(prediction, box_xyxy=(x1, y1, x2, y2), box_source=method)
