"""Predict labels and boxes with an explainable file, boxes from its heatmaps only, for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onnxplain.explainers.localize import BoxMethod, localize
from onnxplain.explainers.registry import supported
from onnxplain.runtime.engine import Engine

Images = Sequence[npt.NDArray[np.uint8]]


def predict_by_heatmap(model: Path) -> Callable[[Images], tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """A function from images, uint8 (H, W, 3) RGB, to class ids (N,) and boxes (N, 4) xyxy in pixels of each image.

    The box comes from the heatmap of the predicted class at the default threshold. The method is CAM if the head allows
    it, else Grad-CAM. The box has no area if the map holds no positive evidence.
    """
    engine = Engine(model)
    method: BoxMethod = "cam" if "cam" in supported(engine) else "grad-cam"

    def predict(images: Images) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        found = localize(engine, list(images), method=method)
        boxes = [prediction.box_xyxy or (0.0, 0.0, 0.0, 0.0) for prediction in found]
        return np.array([prediction.class_id for prediction in found]), np.array(boxes, np.float32)

    return predict
