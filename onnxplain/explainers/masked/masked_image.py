"""An image and its fill in the model's layout and type. A masked copy takes one multiply-add per value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxplain.contract import Layout, Quantization
from onnxplain.explainers.masked.black_box import View
from onnxplain.runtime.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class MaskedImage:
    """``masked copy = delta · mask + hidden``, mask (h, w) in [0, 1], in a model's `layout` and `dtype`.

    `delta`, pixel − fill, is float32 (C, h, w). `hidden`, the fill, is float32 (C, h, w) or (C, 1, 1). Copies for a
    uint8 or int8 model are rounded, half to even. `inpainted`: hidden pixels are filled in from the shown ones of each
    copy instead (`inpaint`); `hidden` is then seen only where nothing is shown.
    """

    delta: FloatArray
    hidden: FloatArray
    layout: Layout
    dtype: np.dtype[Any]
    inpainted: bool = False


def lay_out(view: View, layout: Layout, dtype: np.dtype[Any], quantization: Quantization | None = None) -> MaskedImage:
    """The masked image for a model with this layout and type. For integers, values are clipped to their range.

    With a `quantization`, real values become integers first, not yet rounded.
    """
    pixels, hidden = view.pixels, view.hidden
    if quantization is not None:
        scale, zero_point = np.float32(quantization.scale), np.float32(quantization.zero_point)
        pixels, hidden = (part / scale + zero_point for part in (pixels, hidden))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        pixels, hidden = (part.clip(limits.min, limits.max) for part in (pixels, hidden))
    return MaskedImage(pixels - hidden, hidden, layout, dtype, view.inpainted)
