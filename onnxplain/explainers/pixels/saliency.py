"""Saliency (Simonyan et al. 2014): how much a small change of a pixel changes the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxplain.explainers.aimed.observing import PlacedActivations
from onnxplain.explainers.cam.activation_map import require_gradients
from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.pixels.pixel_explainer import PixelExplainer, PixelMap
from onnxplain.explainers.progress import Progress


@dataclass(frozen=True)
class Saliency(PixelExplainer):
    """``raw = max_c |g_c|`` (Simonyan et al., Deep Inside Convolutional Networks, ICLR workshop 2014, section 3.1).

    The map has no sign, so ``not:`` is refused.
    """

    name: ClassVar[str] = "saliency"
    unit: ClassVar[str] = "gradient"
    signed: ClassVar[bool] = False

    of_one_pass: ClassVar[bool] = True

    def _map(self, view: View, seen: PlacedActivations, report: Progress) -> PixelMap:
        report(1, 1)
        return PixelMap(np.abs(require_gradients(seen)[0]).max(axis=0).astype(np.float64))
