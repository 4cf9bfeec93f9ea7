"""Input × gradient (Shrikumar et al. 2016): what each pixel adds to the answer if the network were linear."""

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
class InputXGradient(PixelExplainer):
    """``raw = Σ_c x_c g_c`` (Shrikumar et al., Not Just a Black Box, 2016, arXiv:1605.01713).

    x is the normalised image, so a pixel of the mean colour adds nothing; in files that normalise inside the graph, or
    not at all, it is the pixel itself, and black adds nothing.
    """

    name: ClassVar[str] = "input-x-gradient"
    unit: ClassVar[str] = "input · gradient"

    of_one_pass: ClassVar[bool] = True

    def _map(self, view: View, seen: PlacedActivations, report: Progress) -> PixelMap:
        report(1, 1)
        return PixelMap((seen.features[0] * require_gradients(seen)[0]).sum(axis=0, dtype=np.float64))
