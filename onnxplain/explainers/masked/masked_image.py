"""One image and what hides it, as the model sees them: a masked copy is one multiply-add away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxplain.contract import Layout
from onnxplain.explainers.masked.black_box import View
from onnxplain.runtime.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class MaskedImage:
    """``masked copy = delta · mask + hidden``, mask (h, w) in [0, 1], in a model's `layout` and `dtype`.

    `delta`, pixel − fill, is float32 (C, h, w); `hidden`, the fill, float32 (C, h, w) or (C, 1, 1). Copies for a
    uint8 or int8 model are rounded, half to even.
    """

    delta: FloatArray
    hidden: FloatArray
    layout: Layout
    dtype: np.dtype[Any]


def lay_out(view: View, layout: Layout, dtype: np.dtype[Any]) -> MaskedImage:
    """The view for such a model; for integers clipped to their range, which is what the model sees."""
    pixels, hidden = view.pixels, view.hidden
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        pixels, hidden = (part.clip(limits.min, limits.max) for part in (pixels, hidden))
    return MaskedImage(pixels - hidden, hidden, layout, dtype)
