"""Predictions of a localizer in PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from onnxplain.contract import Preprocessing
from onnxplain.data.boxes import cxcywh_to_xyxy
from onnxplain.data.inputs import model_inputs
from onnxplain.errors import OnnxplainError
from onnxplain.training.localizer import Localizer
from onnxplain.training.score import Predict


@contextmanager
def evaluating(module: Localizer) -> Iterator[None]:
    """Use the module in eval mode and without gradients; afterwards each submodule has its former mode."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        with torch.inference_mode():
            yield
    finally:
        # `train` must be called: in some modules it does more than set the flag (torchvision's feature extractors
        # change graphs). But it also sets the flags of all submodules, so the flags are restored last.
        for part, was_training in modes:
            part.train(was_training)
        for part, was_training in modes:
            part.training = was_training


def localizer_predict(module: Localizer, preprocessing: Preprocessing) -> Predict:
    """The prediction function of a localizer with a box head, trained on whole, stretched images.

    Raises OnnxplainError for a localizer without a box head, and for another way of resizing.
    """
    if module.box is None:
        raise OnnxplainError("predict: found a localizer without a box head, expected one: take boxes from heatmaps")
    if preprocessing.resize != "stretch":
        raise OnnxplainError(f"predict: found images resized by {preprocessing.resize}, expected stretch")

    def predict(
        images: Sequence[npt.NDArray[np.uint8]],
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        inputs = torch.from_numpy(model_inputs(images, module.config.size_hw, preprocessing))
        with evaluating(module):
            logits, boxes = module.heads(inputs)
        assert boxes is not None
        sizes_whwh = np.array([image.shape[1::-1] * 2 for image in images], np.float32)
        return logits.argmax(dim=1).numpy(), cxcywh_to_xyxy(boxes.numpy()) * sizes_whwh

    return predict
