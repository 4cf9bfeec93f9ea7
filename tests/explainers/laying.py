"""Maps laid over pixels where their frame says, by numpy's own interpolation: the reference for what places maps."""

from __future__ import annotations

import numpy as np
import torch

from onnxplain.contract import LayerSpec, MapFrame


def lay(maps: torch.Tensor, layer: LayerSpec, input_size_hw: tuple[int, int], size_hw: tuple[int, int]) -> torch.Tensor:
    """Maps [n, h, w] of a layer as [n, H, W], pixels of `size_hw` spread over the whole input; edge cells go on."""
    frame = layer.frame or MapFrame.over(input_size_hw, layer.size_hw)
    laid = maps.double().numpy()
    for axis, (side, count) in enumerate(zip(input_size_hw, size_hw, strict=True)):
        pixels = (np.arange(count) + 0.5) * side / count
        cells = frame.offset_hw[axis] + frame.scale_hw[axis] * (np.arange(layer.size_hw[axis]) + 0.5)
        laid = np.apply_along_axis(lambda row, at=pixels, known=cells: np.interp(at, known, row), axis + 1, laid)
    return torch.from_numpy(laid)
