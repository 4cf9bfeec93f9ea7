"""An image that is already warped and normalised, so that this work can be done ahead of the model."""

from __future__ import annotations

from dataclasses import dataclass

from onnxplain.contract import InputSpec, Preprocessing
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.geometry import Frame


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image as `Engine.prepare_image` returns it. It is an image like any other for the same model.

    `pixels`: (H, W, C), the original as `read_pixels` returns it. `frame`: where the model's input lies in it. `input`:
    float32 (C, h, w), normalised by `preprocessing`. For a model with another input it is prepared again.
    """

    pixels: AnyArray
    frame: Frame
    input: FloatArray
    preprocessing: Preprocessing

    def fits(self, model: InputSpec) -> bool:
        """Whether `input` is what a model with this input takes."""
        return self.frame.input_size_hw == model.size_hw and self.preprocessing == model.preprocessing
