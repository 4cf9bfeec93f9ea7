"""onnxplain's engine on arrays that are already normalised; waiting threads sleep."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from onnxplain import Engine
from onnxplain.runtime.geometry import make_frame
from onnxplain.runtime.results import Batch


class QuietOptions(onnxruntime.SessionOptions):
    """Waiting threads sleep, as in all tools."""

    def __init__(self) -> None:
        super().__init__()
        self.add_session_config_entry("session.intra_op.allow_spinning", "0")


onnxruntime.SessionOptions = QuietOptions


class NormalisedEngine(Engine):
    """An engine for inputs that are already normalised: it uses `pixels` and ignores the images."""

    pixels: np.ndarray

    def prepare(self, images: Any) -> Batch:
        images = images if isinstance(images, list | tuple) else [images]
        size_hw = self.spec.input.size_hw
        return Batch(
            self.pixels[: len(images)], (make_frame(size_hw, size_hw, "stretch"),) * len(images), tuple(images)
        )
